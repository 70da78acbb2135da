"""Lengths of the rows of a manifest, by which ESPnet puts rows of like length in one batch."""

from pathlib import Path

from espnet_psslm.atomic import atomic_text
from espnet_psslm.data.manifest import read_manifest

APART = 100_000  # characters between tasks: more than a text has


def write_lengths(manifest: str | Path, path: Path) -> Path:
    """Write ESPnet's shape file: how many characters text and answer have.

    Tasks are far apart, so that a batch is of one: its prompt is then read once for all rows.

    Args:
        manifest: whose rows have a transcript (``GT``).
        path: file to write.

    Returns:
        The file.
    """
    rows = read_manifest(manifest)
    tasks = {task: place for place, task in enumerate(sorted({r["task"] for r in rows.values()}))}
    lines = (
        f"{key} {APART * tasks[row['task']] + len(row.get('GT', '')) + len(row['target'])}\n"
        for key, row in rows.items()
    )
    atomic_text(path, "".join(lines))
    return path
