"""Join what the jobs of a decoding wrote, as if it had been one job.

    python -m espnet_psslm.bin.join_jobs --data_dir dump/raw/test --nj 4 --output_dir decode/test

Reads ``decode/test/jobs/1`` to ``4``. Lines of tables and of JSON Lines are put in the order of the
data folder; ``stats.json`` adds up counts and seconds (of all processes, not of the wall clock) and
keeps the largest peak of memory. Archives stay where they are: tables name them. More than
``--max_skipped`` rows or utterances left out by all jobs together end in an error, after everything
is written. Where jobs say that different models or options made their results
(``made_with.json``), nothing is joined.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_psslm.atomic import atomic_text
from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.common.json_files import read_json, write_json
from espnet_psslm.common.left_out import check_skipped
from espnet_psslm.common.lines import split_lines
from espnet_psslm.data.labelled import MANIFEST
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.inference.made_with import MADE_WITH
from espnet_psslm.samples.segments import read_sources

STATS = "stats.json"
LARGEST = ("peak_rss_mb", "load_s", "max_skipped")
LIMIT = ("num_rows", "max_skipped")


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = new_parser(__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="what split_data has split")
    parser.add_argument("--nj", type=int, required=True, help="jobs")
    parser.add_argument("--output_dir", type=Path, required=True, help="holds jobs/1, jobs/2, ...")
    return parser


def join(data_dir: Path, output_dir: Path, *, nj: int) -> None:
    """Join the files of all jobs.

    Args:
        data_dir: what has been split.
        output_dir: holds ``jobs/1`` to ``jobs/nj``.
        nj: jobs.

    Raises:
        ValueError: if a job has written nothing, or with another model than the others, or all have
            left out too many rows.
    """
    folders = [output_dir / "jobs" / str(job + 1) for job in range(nj)]
    names: dict[Path, None] = {}
    for folder in folders:
        found = [
            path.relative_to(folder)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.startswith(".")  # what a killed job left
        ]
        if not found:
            raise ValueError(f"{folder}: holds nothing; run the job again")
        names |= dict.fromkeys(found)
    _check_made_with(folders)
    spoken = data_dir / "wav.scp"  # a set of text alone has none
    keys = [*(read_sources(spoken) if spoken.exists() else ()), *read_manifest(data_dir / MANIFEST)]
    place = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    for name in names:
        if name.suffix == ".ark":
            continue
        parts = [folder / name for folder in folders if (folder / name).is_file()]
        texts = [path.read_text(encoding="utf-8") for path in parts]
        target = output_dir / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.name == MADE_WITH:
            atomic_text(target, texts[0])  # all say the same
        elif name.name == STATS:
            write_json(target, join_stats([read_json(path) for path in parts]))
        else:
            key_of = _key_of_json if name.suffix == ".jsonl" else _first_word
            atomic_text(target, _in_order(texts, place, key_of))
    _judge_skipped(output_dir)


def _check_made_with(folders: Sequence[Path]) -> None:
    """Raise ValueError if not all jobs were done by one model with the same options."""
    said = [(f / MADE_WITH).read_bytes() if (f / MADE_WITH).is_file() else b"" for f in folders]
    for folder, other in zip(folders, said, strict=True):
        if other != said[0]:
            raise ValueError(
                f"{folder} was made by another model, or with other options, than {folders[0]} "
                f"({MADE_WITH} differs); run the stage again: now all jobs are done anew"
            )


def _judge_skipped(folder: Path) -> None:
    if not (folder / STATS).is_file():
        return
    stats = read_json(folder / STATS)
    limit = {name: stats[name] for name in LIMIT if name in stats}
    if limit:
        check_skipped(folder, **limit)


def _in_order(texts: Sequence[str], place: Mapping[str, int], key_of: Callable[[str], str]) -> str:
    lines = [line for text in texts for line in split_lines(text)]
    return "".join(sorted(lines, key=lambda line: place.get(key_of(line), len(place))))


def _first_word(line: str) -> str:
    return line.split(maxsplit=1)[0] if line.strip() else ""


def _key_of_json(line: str) -> str:
    return json.loads(line)["key"]


def join_stats(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One job's statistics from those of several.

    Args:
        parts: contents of ``stats.json``.
    """
    if "dropped_blank_mass" in parts[0]:
        from espnet_psslm.bin.dump_steps import DumpStats

        total = DumpStats()
        for name in vars(total):
            setattr(total, name, sum(part[name] for part in parts))
        limit = join_stats([{name: part[name] for name in LIMIT if name in part} for part in parts])
        return total.as_dict(limit)
    joined = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if name in LARGEST:
            joined[name] = max(values)
        elif name == "frames_per_step":  # frames are as many as there are seconds
            steps = sum(part["audio_s"] / max(part[name], 1e-9) for part in parts)
            joined[name] = round(sum(part["audio_s"] for part in parts) / max(steps, 1e-9), 3)
        else:
            joined[name] = round(sum(values), 3)
    return joined


def main(cmd: Sequence[str] | None = None) -> None:
    """Join."""
    with command(get_parser(), cmd) as args:
        join(args.data_dir, args.output_dir, nj=args.nj)


if __name__ == "__main__":
    main()
