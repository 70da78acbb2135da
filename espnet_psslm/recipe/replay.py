"""A sample of what a model was trained on, carried in its pack.

Whoever trains a model on goes through what it knew again, so that it forgets nothing. The sample is
text alone: what was said (``GT``), the task and the answer.
"""

import random
from collections.abc import Iterable

from espnet_psslm.common.json_files import json_line
from espnet_psslm.data.manifest import Row

MAX_BYTES = 1_000_000  # of JSON Lines


def sample_replay(rows: Iterable[Row], *, max_bytes: int = MAX_BYTES) -> list[Row]:
    """Draw rows of a training until the size is reached; the same rows give the same sample.

    Args:
        rows: of manifests, with a transcript (``GT``).
        max_bytes: of all lines that are written.

    Returns:
        Rows with ``key``, ``task``, ``target``, ``GT`` and the field of the task's prompt.

    Raises:
        ValueError: if no row has a transcript.
    """
    kept = [_kept(row) for row in rows if "GT" in row]
    if not kept:
        raise ValueError("no row has a transcript (GT): there is nothing to replay")
    random.Random(0).shuffle(kept)
    sample, size = [], 0
    for row in kept:
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
    sentences = {row["GT"] for row in rows}
    return (
        f"The archive holds {len(sentences)} sentences of the training (`replay.jsonl`), which "
        "`espnet-psslm adapt` learns again with what is new, so that nothing is forgotten.\n"
    )


def _kept(row: Row) -> Row:
    field = row["task"]  # what a prompt with {} is filled from
    return {name: row[name] for name in ("key", "task", "target", "GT", field) if name in row}
