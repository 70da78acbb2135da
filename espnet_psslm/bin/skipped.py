"""Rows of a manifest or ``wav.scp`` that could not be used: ``skipped.txt``, and their limit."""

import logging
from collections.abc import Mapping
from pathlib import Path

from espnet_psslm.atomic import atomic_text
from espnet_psslm.common.lines import read_lines

SKIPPED = "skipped.txt"


def write_skipped(folder: Path, skipped: Mapping[str, str]) -> None:
    """List rows, one a line, and say each.

    Args:
        folder: where ``skipped.txt`` goes.
        skipped: key -> reason.
    """
    lines = [f"{key}\t{' '.join(reason.split())}\n" for key, reason in skipped.items()]
    atomic_text(folder / SKIPPED, "".join(lines))
    for key, reason in skipped.items():
        logging.warning("skipped '%s': %s", key, reason)


def check_skipped(folder: Path, *, num_rows: int, max_skipped: float) -> None:
    """Judge the rows that could not be used.

    Args:
        folder: where ``skipped.txt`` lists them.
        num_rows: all rows.
        max_skipped: share of them that may be unusable.

    Raises:
        ValueError: if they are more.
    """
    lines = [line for _, line in read_lines(folder / SKIPPED)]
    if len(lines) > max_skipped * num_rows:
        key, reason = lines[0].split("\t", 1)
        raise ValueError(
            f"{len(lines)} of {num_rows} rows could not be used, more than --max_skipped "
            f"{max_skipped}; {folder / SKIPPED} lists them, first '{key}': {reason}"
        )
