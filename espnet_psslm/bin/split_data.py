"""Split a data folder into parts of its utterances, one for each job of decoding.

    python -m espnet_psslm.bin.split_data --data_dir dump/raw/test --nj 4 --output_dir split4

Writes ``1/`` to ``N/``, each with its lines of ``psslm.jsonl`` and, where there is audio, of
``wav.scp`` and ``utt2num_samples``; all rows of an utterance stay together. Prints N: ``--nj``, or
as many as there are utterances with rows. ``join_jobs`` puts together what the jobs write.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.common.json_files import write_jsonl
from espnet_psslm.data.kaldi import read_table, write_table
from espnet_psslm.data.labelled import MANIFEST
from espnet_psslm.data.manifest import read_manifest

TABLES = ("wav.scp", "utt2num_samples")


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = new_parser(__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="as stage 4 leaves it")
    parser.add_argument("--nj", type=int, required=True, help="parts, at most")
    parser.add_argument("--output_dir", type=Path, required=True, help="for the folders 1/ to N/")
    return parser


def split(data_dir: Path, output_dir: Path, *, nj: int) -> int:
    """Split a data folder.

    Args:
        data_dir: as stage 4 leaves it.
        output_dir: for the parts.
        nj: parts, at most.

    Returns:
        Parts.

    Raises:
        ValueError: if a file is missing, or a row belongs to no utterance.
    """
    if nj < 1:
        raise ValueError(f"--nj {nj}: must be at least 1")
    manifest = read_manifest(data_dir / MANIFEST)
    rows: dict[str | None, list[dict]]
    if (data_dir / "wav.scp").exists() or any("path" in row for row in manifest.values()):
        tables = {name: read_table(data_dir / name) for name in TABLES}
        rows = {utt_id: [] for utt_id in tables["wav.scp"]}
    else:
        tables, rows = {}, {row["utt"]: [] for row in manifest.values() if "utt" in row}
    for key, row in manifest.items():
        if row.get("utt") not in rows:
            raise ValueError(
                f"row '{key}' of {data_dir / MANIFEST}: its field utt is {row.get('utt')!r}, which "
                "is not in wav.scp; run stages 3 and 4 again"
            )
        rows[row["utt"]].append(row)
    spoken = [utt_id for utt_id in rows if rows[utt_id]]
    silent = [utt_id for utt_id in rows if not rows[utt_id]]  # the last part gets them
    parts = max(1, min(nj, len(spoken)))
    for part in range(parts):
        chosen = spoken[part * len(spoken) // parts : (part + 1) * len(spoken) // parts]
        if part == parts - 1:
            chosen += silent
        folder = output_dir / str(part + 1)
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            write_table(folder / name, {utt_id: table[utt_id] for utt_id in chosen})
        write_jsonl(folder / MANIFEST, (row for utt_id in chosen for row in rows[utt_id]))
    return parts


def main(cmd: Sequence[str] | None = None) -> None:
    """Split, and print how many parts there are."""
    with command(get_parser(), cmd) as args:
        print(split(args.data_dir, args.output_dir, nj=args.nj))


if __name__ == "__main__":
    main()
