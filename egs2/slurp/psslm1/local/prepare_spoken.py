"""Stage 1 without SLURP's audio: its sentences spoken by espeak-ng, and other recordings.

Usage::

    python local/prepare_spoken.py --corpus slurp --extra_text train.jsonl --synthesize 3000 \\
        --recordings own/train.jsonl --test own=own/test.jsonl

Reads ``dataset/slurp/*.jsonl`` as ``prepare_slurp.py`` does. Writes ``train`` (training sentences
in the mini recipe's training voices, and the recordings), ``dev`` and ``test_spoken`` (sentences of
those splits in voices of their own), one ``test_NAME`` a ``--test``; without audio ``train_text``
and ``test_text``, all of the test sentences; and ``prompts.jsonl`` with the labels of training.
"""

import argparse
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from installed_voices import installed_voices, is_installed_voice, speak_installed
from prepare_recordings import read_source
from prepare_slurp import SPLITS, read_text, training_text
from synthesize import VOICES_FILE, plan_utterances, read_voices, speak_all

from espnet_psslm.bin.command import command
from espnet_psslm.data.labelled import (
    ACTION,
    ASR,
    ENTITIES,
    MANIFEST,
    SCENARIO,
    LabelledUtterance,
    write_data_dir,
)
from espnet_psslm.data.manifest import Row, write_jsonl
from espnet_psslm.data.prepare import CorpusSet, choose

MAX_SPOKEN_WORDS = 25  # some ten seconds
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


def speak(
    utterances: Sequence[LabelledUtterance], *, name: str, voices: str, args: argparse.Namespace
) -> list[LabelledUtterance]:
    """Speak sentences with the mini recipe's voices and noise, and with installed voices.

    Args:
        utterances: what to say.
        name: of the set.
        voices: split of the voices; those of flite and festival are all training's.
        args: the options.

    Returns:
        The utterances with audio and new ids.
    """
    known = read_voices(VOICES_FILE) + (installed_voices() if args.installed == "true" else [])
    chosen = [voice for voice in known if voice.split == voices]
    planned = plan_utterances(
        [u.text for u in utterances],
        split=name.replace("_", ""),
        voices=chosen,
        folder=f"{args.datadir}/speech/{name}",
        seed=args.seed,
    )
    others = [utterance for utterance in planned if is_installed_voice(utterance.voice)]
    espeak = [utterance for utterance in planned if not is_installed_voice(utterance.voice)]
    seconds = speak_all(espeak, seed=args.seed, nj=args.nj, label=name)
    if others:
        seconds += speak_installed(others, seed=args.seed, nj=args.nj)
    logging.info(
        "%s: %d sentences spoken, %d of them by flite or festival, %.2f h",
        *(name, len(planned), len(others), seconds / 3600),
    )
    return [
        replace(u, utt=spoken.utt, path=spoken.path, spk=spoken.voice.name)
        for u, spoken in zip(utterances, planned, strict=True)
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
        Sentences of at most ``MAX_SPOKEN_WORDS``.

    Raises:
        ValueError: if there are not so many.
    """
    usable = [u for u in sentences.values() if len(u.text.split()) <= MAX_SPOKEN_WORDS]
    if number > len(usable):
        raise ValueError(f"{option} {number}: only {len(usable)} sentences can be spoken; lower it")
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
    labelled = {k: u for k, u in texts["train"].utterances.items() if u.scenario is not None}
    prompts = make_prompts(list(labelled.values()))
    args.datadir.mkdir(parents=True, exist_ok=True)
    write_jsonl(args.datadir / "prompts.jsonl", prompts)
    sentences = list(texts["train"].utterances.values())
    write_data_dir(args.datadir / "train_text", sentences)
    tests = list(texts["test"].utterances.values())
    write_data_dir(args.datadir / "test_text", tests)
    # To repeat what was simulated from one's own transcript is no test.
    asked = [row for u in tests for row in u.rows() if row["task"] != ASR]
    write_jsonl(args.datadir / "test_text" / MANIFEST, asked)
    plans = {
        "train": (labelled, args.synthesize, "--synthesize", "train"),
        "dev": (texts["dev"].utterances, args.synthesize_dev, "--synthesize_dev", "dev"),
        "test_spoken": (
            texts["test"].utterances,
            args.synthesize_test,
            "--synthesize_test",
            "test",
        ),
    }
    for name, (spoken, number, option, voices) in plans.items():
        chosen = to_speak(spoken, number, option=option)
        sets[name] = speak(chosen, name=name, voices=voices, args=args)
    sets["train"] = sets["train"] + recordings
    for name, utterances in sets.items():
        write_data_dir(args.datadir / name, utterances)
    counts = {name: len(utterances) for name, utterances in sets.items()}
    counts |= {"train_text": len(sentences), "test_text": len(tests)}
    (args.datadir / "statistics.json").write_text(json.dumps(counts, indent=1) + "\n")
    logging.info("%s", counts)


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="SLURP's text, spoken by espeak-ng.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
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
    parser.add_argument(
        "--recordings",
        nargs="+",
        default=[],
        help="further speech to train on: data folders, or JSON Lines of SLURP's format",
    )
    parser.add_argument(
        "--installed",
        choices=("true", "false"),
        default="true",
        help="flite and festival, where they are on PATH, speak training sentences too",
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
    """Run the stage.

    Args:
        cmd: arguments; None reads the command line.
    """
    with command(get_parser(), cmd) as args:
        prepare(args)


if __name__ == "__main__":
    main()
