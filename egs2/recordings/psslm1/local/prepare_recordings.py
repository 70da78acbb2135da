"""Stage 1: real recordings, and sentences that synthetic voices speak, to data folders.

Usage::

    python local/prepare_recordings.py --train train.jsonl --dev dev.jsonl --test own=test.jsonl \\
        --sentences sentences.txt --num_sentences 2000

Writes, below ``--datadir``: ``train`` (the recordings at several speeds, and the spoken sentences;
``train_real`` and ``train_real_sp`` are the recordings alone), ``dev``, one ``test_NAME`` a test
set, and ``train_text``, the transcripts of the recordings and all usable sentences. A sentence that
dev, test or a source of ``--not_spoken`` has is not among those. One of ``--train`` and
``--sentences`` may be missing: training is then on spoken sentences alone, or on recordings alone.
What was spoken before is kept.
"""

import argparse
import logging
import random
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from espnet_psslm.bin.command import add_pipe_option, command, new_parser
from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.common.lines import read_lines
from espnet_psslm.data.kaldi import read_table
from espnet_psslm.data.labelled import LabelledUtterance, write_data_dir
from espnet_psslm.data.release import read_recordings
from espnet_psslm.data.speed import perturb_data
from espnet_psslm.recipe.voices.neural import is_spelled
from espnet_psslm.recipe.voices.speak import Utterance, plan_utterances, speak_all
from espnet_psslm.recipe.voices.table import add_voice_options, find_voices
from espnet_psslm.samples.segments import find_beside, read_sources
from espnet_psslm.text.normalize import normalize_text

MIN_WORDS, MAX_WORDS = 3, 12  # of a sentence that is spoken


def read_source(source: Path) -> list[LabelledUtterance]:
    """Read recordings.

    Args:
        source: a data folder, whose relative paths count from where one stands, from the folder
            or from the one above it, whichever has the file; or JSON Lines.

    Returns:
        One utterance a recording, its text normalised.

    Raises:
        ValueError: if a file or a transcript is missing.
    """
    if not source.is_dir():
        return read_recordings(source)
    texts, audio = read_table(source / "text"), read_sources(source / "wav.scp")
    speakers = read_table(source / "utt2spk") if (source / "utt2spk").is_file() else {}
    if lacking := audio.keys() - texts.keys():
        raise ValueError(f"{source}/text lacks {min(lacking)} of wav.scp; add its transcript")
    return [
        LabelledUtterance(utt, normalize_text(texts[utt]), spk=speakers.get(utt),
                          path=find_beside(path, source, source.parent))
        for utt, path in audio.items()
    ]  # fmt: skip


def usable_sentences(
    files: Sequence[Path], *, min_count: int, held_out: Collection[str]
) -> list[str]:
    """Read the sentences that teach words: spelled out, of usual length, of words that recur.

    Args:
        files: a sentence a line.
        min_count: a sentence with a word that comes less often is left out (names, misspellings).
        held_out: normalised sentences that are left out.

    Returns:
        Each once, normalised, in the order of the files.

    Raises:
        ValueError: if a file is missing.
    """
    for file in files:
        if not file.is_file():
            raise ValueError(f"--sentences {file}: no such file")
    lines = [line for file in files for _, line in read_lines(file)]
    sentences = dict.fromkeys(normalize_text(line) for line in lines)
    count = Counter(word for sentence in sentences for word in sentence.split())
    return [
        sentence
        for sentence in sentences
        if is_spelled(sentence)  # a voice reads a number in words, its transcript has digits
        and MIN_WORDS <= len(sentence.split()) <= MAX_WORDS
        and all(count[word] >= min_count for word in sentence.split())
        and sentence not in held_out
    ]


def plan_speech(sentences: Sequence[str], args: argparse.Namespace) -> list[Utterance]:
    """Give every sentence a voice of training, a room and a microphone.

    Args:
        sentences: what to say; without any no voice is needed.
        args: the options.

    Returns:
        One utterance a sentence.
    """
    if not sentences:
        return []
    return plan_utterances(
        sentences,
        split="spoken",
        voices=find_voices(args, "train"),
        folder=f"{args.datadir}/speech",
        seed=args.seed,
        rooms=True,
    )


def read_sets(args: argparse.Namespace) -> dict[str, list[LabelledUtterance]]:
    """Read all recordings.

    Args:
        args: the options.

    Returns:
        Utterances of ``train_real``, if there are any, ``dev`` and each ``test_NAME``.

    Raises:
        ValueError: if a source cannot be read, or there is nothing to train on.
    """
    if not args.train and not (args.sentences and args.num_sentences > 0):
        raise ValueError(
            "there is nothing to train on: name recordings with --train, or sentences to be spoken "
            "with --sentences (--num_sentences above 0), or both"
        )
    sources = {"train_real": args.train} if args.train else {}
    sources["dev"] = args.dev
    for pair in args.test:
        name, _, source = pair.partition("=")
        if not re.fullmatch(r"\w+", name) or not source:
            raise ValueError(f"--test {pair}: write NAME=SOURCE, e.g. own=test.jsonl")
        sources.setdefault(f"test_{name}", []).append(source)
    return {
        name: [utterance for source in given for utterance in read_source(args.base / source)]
        for name, given in sources.items()
    }


def prepare(args: argparse.Namespace) -> None:
    """Make all data folders.

    Args:
        args: the options.

    Raises:
        ValueError: if a source cannot be read, or there are too few sentences.
    """
    sets = read_sets(args)
    held_out = {
        u.text for name, utterances in sets.items() if name != "train_real" for u in utterances
    }
    held_out |= {u.text for source in args.not_spoken for u in read_source(args.base / source)}
    files = [args.base / file for file in args.sentences]
    sentences = usable_sentences(files, min_count=args.min_count, held_out=held_out)
    number = args.num_sentences if files else 0
    if number > len(sentences):
        raise ValueError(
            f"--num_sentences {number}: only {len(sentences)} sentences are usable; give more "
            f"--sentences, or lower --min_count {args.min_count}"
        )
    chosen = random.Random(f"sentences-{args.seed}").sample(sentences, number)
    planned = plan_speech(chosen, args)
    for name, utterances in sets.items():
        write_data_dir(args.datadir / name, utterances)
        logging.info("%s: %d recordings", args.datadir / name, len(utterances))
    texts = dict.fromkeys([u.text for u in sets.get("train_real", [])] + sentences)
    write_data_dir(
        args.datadir / "train_text",
        [LabelledUtterance(f"text-{n:06d}", text) for n, text in enumerate(texts)],
    )
    whole = []
    if args.train:
        real, perturbed = args.datadir / "train_real", args.datadir / "train_real_sp"
        perturb_data(
            real,
            perturbed,
            factors=args.speeds,
            fs=SAMPLE_RATE,
            nj=args.nj,
            allow_pipes=args.allow_pipes,
        )
        whole += read_source(perturbed)
    if planned:
        seconds = speak_all(planned, nj=args.nj)
        logging.info("%d of %d sentences spoken, %.2f h", number, len(sentences), seconds / 3600)
    whole += [LabelledUtterance(u.utt, u.text, path=u.path, spk=u.voice.name) for u in planned]
    write_data_dir(args.datadir / "train", whole)
    logging.info("%s: %d utterances", args.datadir / "train", len(whole))


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("Recordings and spoken sentences for CTC training.")
    parser.add_argument(
        "--train",
        nargs="+",
        default=[],
        help="data folders or JSON Lines; without, training is on spoken sentences alone",
    )
    parser.add_argument("--dev", nargs="+", required=True, help="the same")
    parser.add_argument("--test", nargs="+", required=True, help="NAME=SOURCE")
    parser.add_argument(
        "--sentences",
        nargs="+",
        default=[],
        help="text files, a sentence a line; without, training is on recordings alone",
    )
    parser.add_argument(
        "--not_spoken",
        nargs="+",
        default=[],
        help="data folders or JSON Lines whose sentences are not spoken, as those of dev and test",
    )
    parser.add_argument("--num_sentences", type=int, default=2000, help="how many are spoken")
    parser.add_argument("--min_count", type=int, default=5, help="of every word of a sentence")
    add_voice_options(parser)
    parser.add_argument(
        "--speeds", nargs="+", type=float, default=[0.9, 1.0, 1.1], help="of the recordings"
    )
    parser.add_argument("--base", type=Path, default=Path(), help="where relative paths start")
    parser.add_argument("--datadir", type=Path, default=Path("data"), help="for the data folders")
    parser.add_argument("--nj", type=int, default=2, help="processes")
    add_pipe_option(parser)
    parser.add_argument("--seed", type=int, default=1, help="of sentences, voices and noise")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Run the stage."""
    with command(get_parser(), cmd) as args:
        prepare(args)


if __name__ == "__main__":
    main()
