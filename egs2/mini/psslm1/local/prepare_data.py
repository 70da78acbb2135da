"""Stage 1 of the mini recipe: sentences, speech, data folders.

Usage::

    python local/prepare_data.py --nj 2 --seed 1

Writes, below ``--datadir``: with audio ``train`` (CTC), ``train_sft`` (fine-tuning of the bridge,
voices of training), ``dev``, ``dev_natural`` (the part of ``dev`` that neural voices speak), and
test sentences, the same by three kinds of voices: ``test`` (espeak-ng), ``test_natural`` (neural),
``test_engines`` (flite and festival, where they are installed); without audio ``train_text`` and
``dev_text``; ``test_real`` with ``--real_data``; and ``statistics.json``. The same options give the
same bytes; what was synthesised before is kept.
"""

import argparse
import logging
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from corpus import Splits, check_splits, held_values, make_splits
from grammar import Grammar, Sentence
from mishear import Mishearing

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.common.json_files import write_json
from espnet_psslm.common.switch import add_switch
from espnet_psslm.data.labelled import LabelledUtterance, write_data_dir
from espnet_psslm.data.release import read_recordings
from espnet_psslm.recipe.voices.engines import Voice
from espnet_psslm.recipe.voices.speak import Utterance, plan_utterances, speak_all
from espnet_psslm.recipe.voices.table import (
    NEURAL,
    add_voice_options,
    find_program_voices,
    find_voices,
)
from espnet_psslm.text.prompt import read_prompt_file

PROMPTS = Path(__file__).resolve().parent.parent / "conf/prompts.jsonl"


def prompt_examples() -> set[str]:
    """Sentences that the recipe's prompts show to the language model."""
    rows = read_prompt_file(PROMPTS)
    return {text.strip() for row in rows for text, _ in row.get("examples", ())}


def _sentence_fields(sentence: Sentence) -> dict[str, Any]:
    """What the manifest says of a sentence beside the targets."""
    return {
        "template": sentence.template,
        "seen_template": sentence.seen_template,
        "entities": [{"type": kind, "filler": filler} for kind, filler in sentence.entities],
    }


def text_utterances(sentences: Sequence[Sentence], *, prefix: str) -> list[LabelledUtterance]:
    """Sentences without audio.

    Args:
        sentences: the sentences.
        prefix: of the utterance ids.

    Returns:
        One utterance a sentence.
    """
    return [
        LabelledUtterance(
            utt=f"{prefix}-{index:06d}",
            text=sentence.text,
            scenario=sentence.scenario,
            action=sentence.action,
            extra=_sentence_fields(sentence),
        )
        for index, sentence in enumerate(sentences)
    ]


def training_text(sentences: Sequence[Sentence], mishearing: Mishearing) -> list[LabelledUtterance]:
    """What the bridge is trained on: words misheard or varied.

    Args:
        sentences: the sentences.
        mishearing: says what is said and heard in their place.

    Returns:
        One utterance a sentence.
    """
    utterances = text_utterances(sentences, prefix="text")
    return [
        replace(utterance, said=mishearing.vary(sentence), heard=mishearing(sentence))
        for utterance, sentence in zip(utterances, sentences, strict=True)
    ]


def spoken_utterances(
    sentences: Sequence[Sentence], spoken: Sequence[Utterance]
) -> list[LabelledUtterance]:
    """Sentences with their audio.

    Args:
        sentences: the sentences.
        spoken: how each of them was spoken.

    Returns:
        One utterance a sentence.
    """
    return [
        LabelledUtterance(
            utt=utterance.utt,
            text=sentence.text,
            path=utterance.path,
            spk=utterance.voice.name,
            scenario=sentence.scenario,
            action=sentence.action,
            extra=_sentence_fields(sentence)
            | {"voice": utterance.voice.name}
            | asdict(utterance.recording),
        )
        for sentence, utterance in zip(sentences, spoken, strict=True)
    ]


def prepare(args: argparse.Namespace) -> dict[str, Any]:
    """Make all data folders.

    Args:
        args: the options.

    Returns:
        Statistics of the data.

    Raises:
        ValueError: for bad options, bad real data, or a grammar that breaks a promise.
    """
    datadir = Path(args.datadir)
    # Real data first: a bad row must show before minutes of synthesis.
    real_train = read_recordings(args.real_train) if args.real_train else []
    real_test = read_recordings(args.real_data) if args.real_data else []
    grammar = Grammar()
    splits = make_splits(
        grammar,
        seed=args.seed,
        num_text=args.num_text,
        num_train=args.num_train,
        num_sft=args.num_sft,
        num_dev=args.num_dev,
        num_test=args.num_test,
        reserved=prompt_examples(),
    )
    check_splits(splits, grammar)
    statistics = describe(splits, grammar)
    for name, utterances in speak_sets(splits, args).items():
        statistics["utterances"][name] = len(utterances)
        _write(name, utterances + (real_train if name == "train" else []), args)
    real_text = [
        LabelledUtterance(
            f"text-real-{u.utt}", u.text, scenario=u.scenario, action=u.action, extra=u.extra
        )
        for u in real_train
    ]
    mishearing = Mishearing(
        splits.text,
        kept_out=[value for slots in grammar.slots.values() for value in slots.held],
        reserved=(s.text for s in [*splits.text, *splits.dev, *splits.test]),
        seed=args.seed,
    )
    train_text = training_text(splits.text, mishearing)
    _write("train_text", train_text + real_text, args)
    _write("dev_text", text_utterances(splits.dev, prefix="devtext"), args)
    if real_test:
        _write("test_real", real_test, args)
    statistics["real"] = {"train": len(real_train), "test": len(real_test)}
    write_json(datadir / "statistics.json", statistics)
    return statistics


def _write(name: str, utterances: Sequence[LabelledUtterance], args: argparse.Namespace) -> None:
    with_entities = args.slu_entities
    write_data_dir(
        Path(args.datadir) / name, [replace(u, slu_entities=with_entities) for u in utterances]
    )


def speak_sets(splits: Splits, args: argparse.Namespace) -> dict[str, list[LabelledUtterance]]:
    """Speak every set that the engines asked for can speak.

    Args:
        splits: the sentences.
        args: the options.

    Returns:
        The utterances of each data folder.

    Raises:
        ValueError: if an engine is not installed or cannot say a sentence.
    """
    sets = {
        "train": (splits.train, "train"),
        "train_sft": (splits.sft, "train"),
        "dev_espeak": (splits.dev, "dev"),
        "dev_natural": (splits.dev, "dev_natural"),
        "test": (splits.test, "test"),
        "test_natural": (splits.test, "test_natural"),
    }
    if set(args.voices).isdisjoint(NEURAL):
        del sets["dev_natural"], sets["test_natural"]
        logging.info("without neural voices there is no dev_natural and no test_natural")
    voices = {name: find_voices(args, split) for name, (_, split) in sets.items()}
    if programs := find_program_voices(args.voice_table):
        sets["test_engines"] = (splits.test, "test_engines")
        voices["test_engines"] = programs
    planned = {name: _plan(name, sets[name][0], found, args) for name, found in voices.items()}
    speak_all([utterance for plan in planned.values() for utterance in plan], nj=args.nj)
    spoken = {name: spoken_utterances(sets[name][0], plan) for name, plan in planned.items()}
    return spoken | {"dev": spoken.pop("dev_espeak") + spoken.get("dev_natural", [])}


def _plan(
    name: str, sentences: Sequence[Sentence], voices: Sequence[Voice], args: argparse.Namespace
) -> list[Utterance]:
    # Intents come in turns in the training sentences: shuffled, no voice meets the same ones.
    order = random.Random(f"order-{name}-{args.seed}").sample(range(len(sentences)), len(sentences))
    shuffled = plan_utterances(
        [sentences[index].text for index in order],
        split=name.replace("_", ""),
        voices=voices,
        folder=f"{args.datadir}/speech/{name}",
        seed=args.seed,
        # Test sets differ by their voices alone; rooms are for training and choices.
        rooms=not name.startswith("test"),
    )
    planned = dict(zip(order, shuffled, strict=True))
    return [planned[index] for index in range(len(sentences))]


def describe(splits: Splits, grammar: Grammar) -> dict[str, Any]:
    """Count what the splits hold.

    Args:
        splits: the sentences.
        grammar: where they come from.

    Returns:
        Numbers by name; "utterances" is to be filled.
    """
    test = splits.test
    fillers = [entity for sentence in test for entity in sentence.entities]
    held = [(kind, filler) for kind, filler in fillers if filler in grammar.slots[kind].held]
    return {
        "sentences": {
            name: len(getattr(splits, name)) for name in ("text", "train", "sft", "dev", "test")
        },
        "scenarios": len({s.scenario for s in splits.text}),
        "actions": len({s.action for s in splits.text}),
        "intents": len({(s.scenario, s.action) for s in splits.text}),
        "test_words": sum(len(s.text.split()) for s in test),
        "test_unseen_template_share": sum(not s.seen_template for s in test) / len(test),
        "test_held_out_filler_share": len(held) / max(len(fillers), 1),
        "test_held_out_values": {k: len(v) for k, v in held_values(test, grammar).items()},
        "utterances": {},
    }


def get_parser() -> argparse.ArgumentParser:
    """Command line of the stage."""
    parser = new_parser("Data of the mini recipe.")
    parser.add_argument("--datadir", default="data", help="for the data folders")
    parser.add_argument("--nj", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, default=1, help="of sentences, voices and noise")
    parser.add_argument("--num_text", type=int, default=6000, help="sentences for the bridge")
    parser.add_argument("--num_train", type=int, default=2800, help="spoken sentences for CTC")
    parser.add_argument("--num_sft", type=int, default=200, help="spoken for fine-tuning")
    parser.add_argument("--num_dev", type=int, default=150, help="spoken development sentences")
    parser.add_argument("--num_test", type=int, default=340, help="spoken test sentences")
    add_voice_options(parser)
    add_switch(
        parser,
        "--slu_entities",
        help="add rows of task SLU_entities: scenario, action and entities as one line",
    )
    parser.add_argument("--real_train", default="", help="recordings for CTC training, JSON Lines")
    parser.add_argument("--real_data", default="", help="recordings for test_real, JSON Lines")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Run the stage."""
    with command(get_parser(), cmd) as args:
        statistics = prepare(args)
    logging.info("%s", statistics)


if __name__ == "__main__":
    main()
