"""Stage 1 of recipes with a corpus: sets of utterances, narrowed and written as data folders.

What a corpus has but training cannot use is listed in ``dropped.txt`` of the data folder; the limit
of stage 4 (``--max_dropped``) counts it. Recordings whose file is missing are left to stage 3.
"""

import argparse
import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from espnet_psslm.common.json_files import write_json
from espnet_psslm.common.left_out import UTTERANCE, Dropped, say_dropped, write_dropped
from espnet_psslm.common.lines import read_lines
from espnet_psslm.data.labelled import LabelledUtterance, write_data_dir

STAGE = 1
SIZES = ("train", "dev", "test", "text")  # options --max_train ...


@dataclass
class CorpusSet:
    """One set of a corpus, while it is read."""

    utterances: dict[str, LabelledUtterance] = field(default_factory=dict)  # by id
    dropped: list[Dropped] = field(default_factory=list)

    def add(self, utterance: LabelledUtterance, *, place: str) -> None:
        """Take one utterance; an empty or a repeated one is dropped.

        Args:
            utterance: with its text normalised.
            place: FILE:LINE.
        """
        if not utterance.text:
            self.drop(place, "no words in the sentence")
        elif utterance.utt in self.utterances:
            self.drop(place, f"{utterance.utt} was there before; the first one is kept")
        else:
            self.utterances[utterance.utt] = utterance

    def drop(self, place: str, reason: str) -> None:
        """Note what cannot be used.

        Args:
            place: FILE:LINE; no utterance id, which may be that of another line.
            reason: why.
        """
        self.dropped.append(Dropped(place, reason, STAGE, UTTERANCE))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every ``local/data.sh`` takes.

    Args:
        parser: gets ``--datadir``, ``--nj``, ``--max_train`` and so on.
    """
    parser.add_argument("--datadir", type=Path, default=Path("data"), help="for the data folders")
    parser.add_argument("--nj", type=int, default=1, help="taken from psslm.sh; tables need one")
    for name in SIZES:
        what = "sentences for text-only training" if name == "text" else f"{name} utterances"
        parser.add_argument(f"--max_{name}", type=int, help=f"take so many {what} only")


def choose(
    utterances: Collection[LabelledUtterance], number: int | None
) -> list[LabelledUtterance]:
    """Take some utterances, the same ones wherever and in whatever order they are read.

    Args:
        utterances: all.
        number: how many; None takes all. A smaller choice is part of a larger one.

    Returns:
        The chosen ones, in the order given.

    Raises:
        ValueError: if the number is not positive.
    """
    if number is None:
        return list(utterances)
    if number < 1:
        raise ValueError(f"a set of {number} utterances: --max_... must be at least 1")
    # Ids that follow each other are often of one speaker: so not the first ones.
    ranked = sorted(utterances, key=lambda u: hashlib.sha256(u.utt.encode()).digest())
    chosen = {utterance.utt for utterance in ranked[:number]}
    return [utterance for utterance in utterances if utterance.utt in chosen]


def without_audio(utterances: Iterable[LabelledUtterance]) -> list[LabelledUtterance]:
    """Keep each sentence with its targets once, for text-only training.

    Args:
        utterances: with audio or without.

    Returns:
        Text-only utterances; ids begin with ``text-``.
    """
    by_content: dict[tuple[Any, ...], LabelledUtterance] = {}
    for u in utterances:
        content = (u.text, u.scenario, u.action, *sorted(u.answers.items()))
        if content not in by_content:
            by_content[content] = replace(u, utt=f"text-{u.utt}", path=None, spk=None)
    return list(by_content.values())


def write_sets(datadir: Path, sets: Mapping[str, CorpusSet], args: argparse.Namespace) -> None:
    """Narrow and write all sets, and ``statistics.json``.

    Args:
        datadir: gets one folder a set. A set called ``..._text`` has no audio.
        sets: by name.
        args: with the options of :func:`add_options`.

    Raises:
        ValueError: if a set is empty.
    """
    statistics = {}
    for name, corpus_set in sets.items():
        size = "text" if name == "train_text" else name.removesuffix("_text")
        chosen = choose(corpus_set.utterances.values(), getattr(args, f"max_{size}", None))
        if not chosen and corpus_set.dropped:
            first = corpus_set.dropped[0]
            raise ValueError(f"set {name}: nothing can be used; {first.name}: {first.reason}")
        write_data_dir(datadir / name, chosen)
        write_dropped(datadir / name, corpus_set.dropped)
        say_dropped(corpus_set.dropped, datadir / name)
        statistics[name] = {
            "utterances": len(chosen),
            "of": len(corpus_set.utterances),
            "dropped": len(corpus_set.dropped),
            "words": sum(len(utterance.text.split()) for utterance in chosen),
        }
        logging.info("%s: %s", datadir / name, statistics[name])
    write_json(datadir / "statistics.json", statistics)


def read_sentences(
    path: Path, *, into: CorpusSet, normalize: Any, prefix: str = "text-extra"
) -> None:
    """Read further sentences for text-only training, one a line.

    Args:
        path: text file; empty lines are passed over.
        into: gets one utterance a sentence that it has not yet.
        normalize: text to normalised text.
        prefix: of the ids.

    Raises:
        ValueError: if there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; --extra_text names one with a sentence a line")
    known = {utterance.text for utterance in into.utterances.values()}
    for number, line in read_lines(path):
        text = normalize(line)
        if text and text not in known:
            known.add(text)
            utterance = LabelledUtterance(f"{prefix}-{number:07d}", text)
            into.add(utterance, place=f"{path.name}:{number}")
