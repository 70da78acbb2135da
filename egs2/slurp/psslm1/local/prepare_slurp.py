"""Stage 1: SLURP as distributed to data folders.

Usage::

    python local/prepare_slurp.py --corpus slurp --datadir data --microphone headset

Reads ``dataset/slurp/{train,train_synthetic,devel,test}.jsonl`` and ``audio/slurp_{real,synth}``.
Writes ``train``, ``dev``, ``test`` with audio, and ``train_text``, ``dev_text``, ``test_text`` with
every sentence once. Their manifests hold the tasks ASR, SLU_scenario, SLU_action and SLU_entities
(scenario, action and entities in one line, where a row has them), and the fields ``slurp_id``,
``intent``, ``entities`` and, with audio, ``recording``.
"""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.data.labelled import LabelledUtterance
from espnet_psslm.data.manifest import Row
from espnet_psslm.data.prepare import (
    CorpusSet,
    add_options,
    read_sentences,
    without_audio,
    write_sets,
)
from espnet_psslm.data.release import parse_slurp_row, row_entities, slurp_file
from espnet_psslm.text.normalize import normalize_text
from espnet_psslm.text.slu_answer import SLUAnswer

SPLITS = {"train": "train", "dev": "devel", "test": "test"}  # set: file
SYNTHETIC = "train_synthetic"
HEADSET = "-headset"  # at the end of a file's stem


def read_rows(path: Path, *, into: CorpusSet) -> Iterator[tuple[str, Row, dict[str, Any]]]:
    """Read one file of the release.

    Args:
        path: JSON Lines.
        into: where rows are noted that cannot be used.

    Yields:
        FILE:LINE, the row, and what all its utterances share.

    Raises:
        ValueError: if there is no such file.
    """
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist: SLURP in db.sh names the folder with dataset/slurp and audio; "
            "without synthetic speech: --audio real"
        )
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            place = f"{path.name}:{number}"
            try:
                row = parse_slurp_row(line)
            except ValueError as error:
                into.drop(place, str(error))
                continue
            try:
                entities = checked_entities(row)
            except ValueError as error:
                into.drop(place, f"slurp_id {row.get('slurp_id')}: {error}")
                continue
            extra = {name: row[name] for name in ("slurp_id", "intent") if name in row}
            shared = {
                "text": normalize_text(row["sentence"]),
                "scenario": row.get("scenario") or None,
                "action": row.get("action") or None,
                "slu_entities": True,
                "extra": extra | ({} if entities is None else {"entities": entities}),
            }
            yield place, row, shared


def checked_entities(row: Row) -> list[dict[str, str]] | None:
    """Return the entities of a row, which a line of SLU_entities can say.

    Args:
        row: of the release.

    Returns:
        See ``row_entities``.

    Raises:
        ValueError: for a span that is empty or beyond the tokens, "|" in a filler, or a blank in a
            type.
    """
    entities = row_entities(row)
    if entities and row.get("scenario") and row.get("action"):
        SLUAnswer.of(row["scenario"], row["action"], entities).text()
    return entities


def read_spoken(path: Path, *, audio: Path, microphone: str, into: CorpusSet) -> None:
    """Read the recordings of one file.

    Args:
        path: JSON Lines.
        audio: folder of its recordings.
        microphone: ``both``, ``headset`` or ``distant``.
        into: gets one utterance a recording.
    """
    for place, row, shared in read_rows(path, into=into):
        for recording in row["recordings"]:
            try:
                name = slurp_file(recording)
            except ValueError as error:
                into.drop(place, str(error))
                continue
            is_headset = Path(name).stem.endswith(HEADSET)
            if microphone != "both" and is_headset != (microphone == "headset"):
                continue
            fields = shared | {"extra": shared["extra"] | {"recording": name}}
            utterance = LabelledUtterance(utt=Path(name).stem, path=str(audio / name), **fields)
            into.add(utterance, place=place)


def read_text(path: Path, *, into: CorpusSet, mark: str = "") -> None:
    """Read the sentences of one file.

    Args:
        path: JSON Lines.
        into: gets one utterance a sentence.
        mark: of a file beside the release, whose ids may be the release's: such a row gets an id
            with the mark and its line. Without one it is dropped.
    """
    for place, row, shared in read_rows(path, into=into):
        utt = f"slurp{row.get('slurp_id', place.replace(':', '-'))}"
        if mark and utt in into.utterances:
            utt = f"{utt}-{mark}-{place.rpartition(':')[2]}"
        into.add(LabelledUtterance(utt=utt, **shared), place=place)


def training_text(args: argparse.Namespace) -> CorpusSet:
    """Collect the sentences of text-only training.

    Args:
        args: the options.

    Returns:
        SLURP's training sentences where it has them, and those of ``--extra_text``.
    """
    corpus_set = CorpusSet()
    path = args.corpus / "dataset/slurp/train.jsonl"
    # Without audio the training sentences may be those of --extra_text alone.
    if not (args.text_only and args.extra_text) or path.is_file():
        read_text(path, into=corpus_set)
    for index, extra in enumerate(args.extra_text):
        if extra.suffix == ".jsonl":
            read_text(extra, into=corpus_set, mark=f"extra{index}")
    unique = without_audio(corpus_set.utterances.values())
    result = CorpusSet({u.utt: u for u in unique}, corpus_set.dropped)
    for index, extra in enumerate(args.extra_text):
        if extra.suffix != ".jsonl":
            prefix = f"text-extra{index}"
            read_sentences(extra, into=result, normalize=normalize_text, prefix=prefix)
    return result


def prepare(args: argparse.Namespace) -> None:
    """Make all data folders.

    Args:
        args: the options.

    Raises:
        ValueError: if a file is missing or a set is empty.
    """
    dataset = args.corpus / "dataset/slurp"
    spoken = partial(read_spoken, microphone=args.microphone)
    sets: dict[str, CorpusSet] = {}
    for name, file in SPLITS.items():
        if args.text_only:
            break
        sets[name] = CorpusSet()
        real = args.corpus / "audio/slurp_real"
        if name != "train" or args.audio != "synthetic":
            spoken(dataset / f"{file}.jsonl", audio=real, into=sets[name])
        if name == "train" and args.audio != "real":
            # Synthesised speech has no microphone to choose by.
            synthetic = args.corpus / "audio/slurp_synth"
            path = dataset / f"{SYNTHETIC}.jsonl"
            read_spoken(path, audio=synthetic, microphone="both", into=sets[name])
    sets["train_text"] = training_text(args)
    for name in ("dev", "test"):
        sentences = CorpusSet()
        read_text(dataset / f"{SPLITS[name]}.jsonl", into=sentences)
        renamed = without_audio(sentences.utterances.values())
        sets[f"{name}_text"] = CorpusSet({u.utt: u for u in renamed}, sentences.dropped)
    write_sets(args.datadir, sets, args)


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("Data of the SLURP recipe.")
    parser.add_argument("--corpus", type=Path, required=True, help="SLURP of db.sh")
    add_options(parser)
    parser.add_argument(
        "--audio",
        choices=("both", "real", "synthetic"),
        default="both",
        help="training speech; dev and test are real",
    )
    parser.add_argument(
        "--microphone",
        choices=("both", "headset", "distant"),
        default="both",
        help="of real recordings, in all sets",
    )
    parser.add_argument(
        "--text_only", action="store_true", help="no audio: write train_text, dev_text, test_text"
    )
    parser.add_argument(
        "--extra_text",
        type=Path,
        nargs="+",
        default=[],
        help="further training sentences: SLURP's format (.jsonl), or one a line",
    )
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Run the stage."""
    with command(get_parser(), cmd) as args:
        prepare(args)


if __name__ == "__main__":
    main()
