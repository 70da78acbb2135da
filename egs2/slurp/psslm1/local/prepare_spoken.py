"""Stage 1 without SLURP's audio: its sentences spoken by synthetic voices, and other recordings.

Usage::

    python local/prepare_spoken.py --corpus slurp --extra_text train.jsonl --synthesize 3000 \\
        --recordings own/train.jsonl --test own=own/test.jsonl

Reads ``dataset/slurp/*.jsonl`` as ``prepare_slurp.py`` does. Writes ``train`` (training sentences
in voices of training, and the recordings), ``dev`` and ``test_spoken`` (sentences of those splits
in voices of their own), one ``test_NAME`` a ``--test``; without audio ``train_text`` and
``test_text``, all of the test sentences; and ``prompts.jsonl`` with the labels of training. What
was spoken before is kept.
"""

import argparse
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from prepare_recordings import read_source
from prepare_slurp import SPLITS, read_text, training_text

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.common.json_files import write_json, write_jsonl
from espnet_psslm.data.labelled import MANIFEST, LabelledUtterance, write_data_dir
from espnet_psslm.data.manifest import Row
from espnet_psslm.data.prepare import CorpusSet, choose
from espnet_psslm.recipe.voices.neural import is_spelled
from espnet_psslm.recipe.voices.speak import Utterance, plan_utterances, speak_all
from espnet_psslm.recipe.voices.table import add_voice_options, find_voices
from espnet_psslm.text.tasks import ACTION, ASR, ENTITIES, SCENARIO

MAX_SPOKEN_WORDS = 25  # some ten seconds
VOICES = {  # set: splits of its voices
    "train": ("train",),
    "dev": ("dev", "dev_natural"),
    "test_spoken": ("test", "test_natural"),
}
# Short, without examples: LoRA learns what is asked for, and every step reads the prompts anew.
SYSTEM = {
    ASR: "You repeat the user's text word for word.",
    SCENARIO: "You name the scenario of the user's command.",
    ACTION: "You name the action that the user's command asks for.",
    ENTITIES: "You write the scenario, the action and the entities of the user's command.",
}


def target(utterance: LabelledUtterance, task: str) -> str | None:
    """What a task's row of the utterance asks for; None where it has no such row."""
    return next((row["target"] for row in utterance.rows() if row["task"] == task), None)


def make_prompts(utterances: Sequence[LabelledUtterance]) -> list[Row]:
    """Write a prompt for each task, with the labels that may be answered.

    Args:
        utterances: training sentences; those without a label are passed over.

    Returns:
        Lines of a prompt file.

    Raises:
        ValueError: if a task has no sentence.
    """
    rows = []
    for task, system in SYSTEM.items():
        answers = {answer for u in utterances if (answer := target(u, task)) is not None}
        if not answers:
            raise ValueError(
                "no training sentence has scenario, action and entities: name a file of SLURP's "
                "format with --extra_text"
            )
        row = {"task": task, "prompt": "", "system": system}
        rows.append(row | ({"labels": sorted(answers)} if task in (SCENARIO, ACTION) else {}))
    return rows


def plan_speech(
    chosen: Mapping[str, Sequence[LabelledUtterance]], args: argparse.Namespace
) -> dict[str, list[Utterance]]:
    """Give every sentence a voice of its set, a room and a microphone.

    Args:
        chosen: by set, what to say.
        args: the options.

    Returns:
        By set, how each of its sentences is spoken.

    Raises:
        ValueError: if a set has no voice, or one that is not installed.
    """
    return {
        name: plan_utterances(
            [u.text for u in utterances],
            split=name.replace("_", ""),
            voices=find_voices(args, *VOICES[name]),
            folder=f"{args.datadir}/speech/{name}",
            seed=args.seed,
            rooms=True,
        )
        for name, utterances in chosen.items()
    }


def with_audio(
    utterances: Sequence[LabelledUtterance], spoken: Sequence[Utterance]
) -> list[LabelledUtterance]:
    """Return the utterances with their audio, speakers and new ids."""
    return [
        replace(u, utt=s.utt, path=s.path, spk=s.voice.name)
        for u, s in zip(utterances, spoken, strict=True)
    ]


def to_speak(
    sentences: Mapping[str, LabelledUtterance], number: int, *, option: str
) -> list[LabelledUtterance]:
    """Choose sentences to speak, the same ones in every run.

    Args:
        sentences: by id.
        number: how many.
        option: that asks for them.

    Returns:
        Sentences of at most ``MAX_SPOKEN_WORDS`` that every voice can say: none with a digit.

    Raises:
        ValueError: if there are not so many.
    """
    usable = [
        u
        for u in sentences.values()
        if is_spelled(u.text) and len(u.text.split()) <= MAX_SPOKEN_WORDS
    ]
    if number > len(usable):
        raise ValueError(
            f"{option} {number}: only {len(usable)} sentences can be spoken, which have English "
            f"letters alone and at most {MAX_SPOKEN_WORDS} words; lower it"
        )
    return choose(usable, number)


def test_sources(args: argparse.Namespace) -> dict[str, list[LabelledUtterance]]:
    """Read the recordings of ``--test``.

    Raises:
        ValueError: if an option is not NAME=SOURCE, or a source cannot be read.
    """
    sets: dict[str, list[LabelledUtterance]] = {}
    for pair in args.test:
        name, _, source = pair.partition("=")
        if not re.fullmatch(r"\w+", name) or not source or name in ("spoken", "text"):
            raise ValueError(
                f"--test {pair}: write NAME=SOURCE, e.g. own=test.jsonl; spoken and text are taken"
            )
        found = read_source(args.base / source)
        sets[f"test_{name}"] = [replace(u, slu_entities=True) for u in found]
    return sets


def read_texts(args: argparse.Namespace) -> dict[str, dict[str, LabelledUtterance]]:
    """Read the sentences of ``train``, ``dev`` and ``test``, by id; warn of those left out.

    Raises:
        ValueError: if a file is missing.
    """
    args.extra_text = [args.base / path for path in args.extra_text]
    texts = {"train": training_text(args)}
    for name in ("dev", "test"):
        texts[name] = CorpusSet()
        read_text(args.corpus / f"dataset/slurp/{SPLITS[name]}.jsonl", into=texts[name])
    for name, corpus_set in texts.items():
        if corpus_set.dropped:
            first = corpus_set.dropped[0]
            logging.warning(
                "%s: %d sentences cannot be used, first %s: %s",
                *(name, len(corpus_set.dropped), first.name, first.reason),
            )
    return {name: corpus_set.utterances for name, corpus_set in texts.items()}


def prepare(args: argparse.Namespace) -> None:
    """Make all data folders and the prompts.

    Args:
        args: the options.

    Raises:
        ValueError: if a file cannot be read, or there are too few sentences.
    """
    # Recordings first: a bad row must show before minutes of synthesis.
    recordings = [u for source in args.recordings for u in read_source(args.base / source)]
    sets = test_sources(args)
    texts = read_texts(args)
    labelled = {k: u for k, u in texts["train"].items() if u.scenario is not None}
    prompts = make_prompts(list(labelled.values()))
    chosen = {
        "train": to_speak(labelled, args.synthesize, option="--synthesize"),
        "dev": to_speak(texts["dev"], args.synthesize_dev, option="--synthesize_dev"),
        "test_spoken": to_speak(texts["test"], args.synthesize_test, option="--synthesize_test"),
    }
    planned = plan_speech(chosen, args)
    args.datadir.mkdir(parents=True, exist_ok=True)
    write_jsonl(args.datadir / "prompts.jsonl", prompts)
    sentences, tests = list(texts["train"].values()), list(texts["test"].values())
    write_data_dir(args.datadir / "train_text", sentences)
    write_data_dir(args.datadir / "test_text", tests)
    # To repeat what was simulated from one's own transcript is no test.
    asked = [row for u in tests for row in u.rows() if row["task"] != ASR]
    write_jsonl(args.datadir / "test_text" / MANIFEST, asked)
    seconds = speak_all([u for plan in planned.values() for u in plan], nj=args.nj)
    logging.info("%.2f h of speech", seconds / 3600)
    for name, utterances in chosen.items():
        sets[name] = with_audio(utterances, planned[name])
    sets["train"] += recordings
    for name, utterances in sets.items():
        write_data_dir(args.datadir / name, utterances)
    counts = {name: len(utterances) for name, utterances in sets.items()}
    counts |= {"train_text": len(sentences), "test_text": len(tests)}
    write_json(args.datadir / "statistics.json", counts)
    logging.info("%s", counts)


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("SLURP's text, spoken by synthetic voices.")
    parser.add_argument("--corpus", type=Path, required=True, help="SLURP of db.sh")
    parser.add_argument(
        "--extra_text",
        type=Path,
        nargs="+",
        default=[],
        help="further training sentences: SLURP's format (.jsonl), or one a line",
    )
    parser.add_argument("--synthesize", type=int, required=True, help="training sentences to speak")
    parser.add_argument("--synthesize_dev", type=int, default=150, help="of the development set")
    parser.add_argument("--synthesize_test", type=int, default=500, help="of the test set")
    add_voice_options(parser)
    parser.add_argument(
        "--recordings",
        nargs="+",
        default=[],
        help="further speech to train on: data folders, or JSON Lines of SLURP's format",
    )
    parser.add_argument("--test", nargs="+", default=[], help="NAME=SOURCE, likewise")
    parser.add_argument("--base", type=Path, default=Path(), help="where relative paths start")
    parser.add_argument("--datadir", type=Path, default=Path("data"), help="for the data folders")
    parser.add_argument("--nj", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, default=1, help="of voices and noise")
    # What prepare_slurp.training_text asks for.
    parser.set_defaults(text_only=True)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Run the stage."""
    with command(get_parser(), cmd) as args:
        prepare(args)


if __name__ == "__main__":
    main()
