"""Stage 1: one language of a Common Voice release to data folders.

Usage::

    python local/prepare_commonvoice.py --corpus cv-corpus-17.0 --lang de --datadir data/de

Reads ``LANG/{train,dev,test}.tsv`` and ``LANG/clips``; writes ``train``, ``dev``, ``test`` with
audio, and ``train_text`` with every training sentence once. Task: ASR.
"""

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.data.common_voice import read_clips
from espnet_psslm.data.labelled import LabelledUtterance
from espnet_psslm.data.prepare import (
    CorpusSet,
    add_options,
    read_sentences,
    without_audio,
    write_sets,
)
from espnet_psslm.text.normalize import normalize_text


def read_split(folder: Path, split: str, *, language: str) -> CorpusSet:
    """Read one table of a language.

    Args:
        folder: of the language.
        split: name of the table.
        language: of the sentences.

    Returns:
        One utterance a clip.
    """
    corpus_set = CorpusSet()
    for clip in read_clips(folder / f"{split}.tsv", into=corpus_set):
        utterance = LabelledUtterance(
            utt=clip.utt,
            text=normalize_text(clip.sentence, language),
            path=str(folder / "clips" / clip.name),
            spk=clip.client_id,
        )
        corpus_set.add(utterance, place=clip.place)
    return corpus_set


def held_out(train: CorpusSet, *others: CorpusSet) -> CorpusSet:
    """Take from the training set what dev or test have too.

    ``validated`` holds all three.

    Args:
        train: training clips.
        others: dev and test.

    Returns:
        The training clips that are in no other set, neither by id nor by speaker.
    """
    utts = {utt for other in others for utt in other.utterances}
    speakers = {u.spk for other in others for u in other.utterances.values()} - {None}
    kept = {
        utt: u for utt, u in train.utterances.items() if utt not in utts and u.spk not in speakers
    }
    if left_out := len(train.utterances) - len(kept):
        logging.info("train: %d clips left out, dev or test has clip or speaker", left_out)
    return CorpusSet(kept, train.dropped)


def prepare(args: argparse.Namespace) -> None:
    """Make all data folders.

    Args:
        args: the options.

    Raises:
        ValueError: if a file is missing or a set is empty.
    """
    read = partial(read_split, args.corpus / args.lang, language=args.lang)
    dev, test = read("dev"), read("test")
    train = held_out(read(args.train_split), dev, test)
    text = CorpusSet({u.utt: u for u in without_audio(train.utterances.values())})
    if args.extra_text is not None:
        normalize = partial(normalize_text, language=args.lang)
        read_sentences(args.extra_text, into=text, normalize=normalize)
    sets = {"train": train, "dev": dev, "test": test, "train_text": text}
    write_sets(args.datadir, sets, args)


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("Data of the Common Voice recipe.")
    parser.add_argument("--corpus", type=Path, required=True, help="COMMONVOICE of db.sh")
    parser.add_argument("--lang", default="en", help="folder of the language, e.g. zh-CN")
    add_options(parser)
    parser.add_argument(
        "--train_split",
        default="train",
        help="table to train on; of validated, speakers of dev and test are left out",
    )
    parser.add_argument(
        "--extra_text", type=Path, help="further sentences for text-only training, one a line"
    )
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Run the stage."""
    with command(get_parser(), cmd) as args:
        prepare(args)


if __name__ == "__main__":
    main()
