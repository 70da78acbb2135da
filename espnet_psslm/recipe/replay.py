"""A sample of what a model was trained on, carried in its pack.

Whoever trains a model on goes through what it knew again, so that it forgets nothing. The sample is
text alone: what was said (``GT``), the task and the answer. A few rows are marked ``held_out``: no
training has seen them, so they show what is forgotten.
"""

import random
from collections.abc import Iterable

from espnet_psslm.common.json_files import json_line
from espnet_psslm.data.manifest import Row

MAX_BYTES = 1_000_000  # of JSON Lines
HELD_OUT_SHARE = 0.1  # of these, at most


def sample_replay(rows: Iterable[Row], *, max_bytes: int = MAX_BYTES) -> list[Row]:
    """Draw rows until the size is reached; the same rows give the same sample.

    Args:
        rows: of manifests, with a transcript (``GT``); those of no training are marked
            ``held_out``.
        max_bytes: of all lines that are written.

    Returns:
        Rows with ``key``, ``task``, ``target``, ``GT``, the field of the task's prompt, and
        ``held_out`` where it is true. None of the others has a transcript of these.

    Raises:
        ValueError: if no row of a training has a transcript.
    """
    kept = [_kept(row) for row in rows if "GT" in row]
    held_out = _within(
        [row for row in kept if is_held_out(row)], max_bytes=int(HELD_OUT_SHARE * max_bytes)
    )
    apart = {row["GT"] for row in held_out}
    trained = [row for row in kept if not is_held_out(row) and row["GT"] not in apart]
    if not trained:
        raise ValueError("no row has a transcript (GT): there is nothing to replay")
    return held_out + _within(trained, max_bytes=max_bytes - size_of(held_out))


def is_held_out(row: Row) -> bool:
    """Whether no training has seen the row."""
    return row.get("held_out") is True


def _within(rows: list[Row], *, max_bytes: int) -> list[Row]:
    """Rows drawn until the size is reached."""
    rows = list(rows)
    random.Random(0).shuffle(rows)
    sample, size = [], 0
    for row in rows:
        size += size_of([row])
        if size > max_bytes:
            break
        sample.append(row)
    return sample


def size_of(rows: Iterable[Row]) -> int:
    """Bytes of rows, written as JSON Lines."""
    return sum(len(json_line(row).encode()) for row in rows)


def describe_replay(rows: Iterable[Row]) -> str:
    """What the card says of the sample."""
    rows = list(rows)
    trained = {row["GT"] for row in rows if not is_held_out(row)}
    held_out = {row["GT"] for row in rows if is_held_out(row)}
    return (
        f"The archive holds {len(trained)} sentences of the training (`replay.jsonl`), which "
        "`espnet-psslm adapt` learns again with what is new, so that nothing is forgotten, and "
        f"{len(held_out)} sentences that no training has seen, which show whether it is.\n"
    )


def _kept(row: Row) -> Row:
    field = row["task"]  # what a prompt with {} is filled from
    names = ("key", "task", "target", "GT", "held_out", field)
    return {name: row[name] for name in names if name in row}
