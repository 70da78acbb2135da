"""Stage 1: one language pair of CoVoST 2 to data folders.

Usage::

    python local/prepare_covost2.py --corpus covost2 --commonvoice cv-corpus-4 --pair en_de

Joins ``covost_v2.PAIR.tsv`` with ``SOURCE/validated.tsv`` of Common Voice on the clip's name.
Writes ``train``, ``dev``, ``test`` with audio, and ``train_text`` with every training pair once.
Tasks: ASR, and the translation, such as EN2DE. Translations stay as they are, but for white space.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.data.common_voice import clip_name, read_clips, read_tsv
from espnet_psslm.data.labelled import LabelledUtterance
from espnet_psslm.data.prepare import CorpusSet, add_options, without_audio, write_sets
from espnet_psslm.text.normalize import normalize_text
from espnet_psslm.text.tasks import translation_task

# Column split -> set. The corpus' own tool adds train_covost to train, and leaves dev_covost and
# test_covost, which belong to version 1, out.
SETS = {"train": "train", "train_covost": "train", "dev": "dev", "test": "test"}

REMOVED = "REMOVE"  # in place of a translation, where the translator found the clip unusable


def read_translations(path: Path, sets: dict[str, CorpusSet]) -> dict[str, tuple[str, str, str]]:
    """Read the table of translations.

    Args:
        path: ``covost_v2.PAIR.tsv``.
        sets: where rows are noted that cannot be used.

    Returns:
        Clip's file name -> FILE:LINE, set, translation.
    """
    found: dict[str, tuple[str, str, str]] = {}
    # A broken row has no set: it counts where most are.
    for place, row in read_tsv(path, columns=("path", "translation", "split"), into=sets["train"]):
        name = SETS.get(row["split"].strip())
        if name is None:
            continue
        clip = clip_name(row["path"])
        translation = " ".join(row["translation"].split())
        if not clip:
            sets[name].drop(place, f"no usable file name in {row['path']!r}")
        elif not translation:
            sets[name].drop(place, "no translation")
        elif translation.strip("\"'.") == REMOVED:
            sets[name].drop(place, f"the corpus marks the clip as none with {REMOVED}")
        elif clip in found:
            sets[name].drop(place, f"{clip} was there before; the first one is kept")
        else:
            found[clip] = (place, name, translation)
    return found


def prepare(args: argparse.Namespace) -> None:
    """Make all data folders.

    Args:
        args: the options.

    Raises:
        ValueError: if a file is missing, the pair is none, or a set is empty.
    """
    source, _, target = args.pair.partition("_")
    if not source or not target:
        raise ValueError(f"--pair {args.pair!r}: write SOURCE_TARGET, e.g. en_de or en_zh-CN")
    task = translation_task(source, target)
    sets = {name: CorpusSet() for name in ("train", "dev", "test")}
    translations = read_translations(args.corpus / f"covost_v2.{args.pair}.tsv", sets)
    folder = args.commonvoice / source
    unused = CorpusSet()  # most validated clips have no translation
    for clip in read_clips(folder / "validated.tsv", into=unused):
        if clip.name not in translations:
            continue
        _, name, translation = translations.pop(clip.name)
        utterance = LabelledUtterance(
            utt=clip.utt,
            text=normalize_text(clip.sentence, source),
            path=str(folder / "clips" / clip.name),
            spk=clip.client_id,
            answers={task: translation},
        )
        sets[name].add(utterance, place=clip.place)
    for clip_file, (place, name, _) in translations.items():
        sets[name].drop(place, f"{clip_file} is not in {folder.name}/validated.tsv: other release?")
    text = without_audio(sets["train"].utterances.values())
    sets["train_text"] = CorpusSet({u.utt: u for u in text})
    write_sets(args.datadir, sets, args)


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("Data of the CoVoST 2 recipe.")
    parser.add_argument("--corpus", type=Path, required=True, help="COVOST2 of db.sh")
    parser.add_argument("--commonvoice", type=Path, required=True, help="COMMONVOICE of db.sh")
    parser.add_argument("--pair", default="en_de", help="SOURCE_TARGET, as in the file's name")
    add_options(parser)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Run the stage."""
    with command(get_parser(), cmd) as args:
        prepare(args)


if __name__ == "__main__":
    main()
