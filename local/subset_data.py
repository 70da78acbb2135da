"""Copy a random part of a data folder, the same one for the same seed.

    subset_data.py --data_dir dump/raw/train --num_utts 200 --seed 0 --output_dir dump/raw/train_sft

Copies the lines of every utterance that was picked from wav.scp, text, utt2spk, utt2num_samples,
speech_shape and psslm.jsonl, as far as these exist. Standard library only.
"""

import argparse
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

FILES = ("wav.scp", "text", "utt2spk", "utt2num_samples", "speech_shape")


def subset_data(data_dir: Path, output_dir: Path, *, num_utts: int, seed: int) -> int:
    """Pick utterances and copy their lines, in the order of the source.

    Args:
        data_dir: source with wav.scp and psslm.jsonl.
        output_dir: is made anew.
        num_utts: how many to pick; all, if there are fewer.
        seed: of the choice.

    Returns:
        How many were picked.

    Raises:
        ValueError: if the source has no utterances or no such file.
    """
    for name in ("wav.scp", "psslm.jsonl"):
        if not (data_dir / name).is_file():
            raise ValueError(f"{data_dir / name} is missing: run stages 3 and 4 first")
    utts = [line.split(maxsplit=1)[0] for line in read_lines(data_dir / "wav.scp")]
    if not utts or num_utts < 1:
        raise ValueError(f"cannot pick {num_utts} of {len(utts)} utterances of {data_dir}")
    picked = set(random.Random(seed).sample(sorted(utts), min(num_utts, len(utts))))
    shutil.rmtree(output_dir, ignore_errors=True)
    output_dir.mkdir(parents=True)
    for name in FILES:
        if (data_dir / name).is_file():
            lines = read_lines(data_dir / name)
            write_lines(
                output_dir / name, [line for line in lines if line.split(maxsplit=1)[0] in picked]
            )
    rows = read_lines(data_dir / "psslm.jsonl")
    write_lines(
        output_dir / "psslm.jsonl", [row for row in rows if json.loads(row)["utt"] in picked]
    )
    return len(picked)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file, with their ends."""
    with open(path, encoding="utf-8") as stream:
        return list(stream)


def write_lines(path: Path, lines: list[str]) -> None:
    """Write lines that have their ends."""
    path.write_text("".join(lines), encoding="utf-8")


def main(cmd: Sequence[str] | None = None) -> None:
    """Copy the part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--num_utts", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args(cmd)
    try:
        count = subset_data(args.data_dir, args.output_dir, num_utts=args.num_utts, seed=args.seed)
    except ValueError as error:
        raise SystemExit(f"subset_data: {error}") from error
    print(f"{count} utterances: {args.output_dir}")


if __name__ == "__main__":
    main()
