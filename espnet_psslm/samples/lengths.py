"""Lengths of the rows of a manifest, by which ESPnet puts rows of like length in one batch."""

from pathlib import Path

from espnet_psslm.atomic import atomic_text
from espnet_psslm.data.manifest import read_manifest


def write_lengths(manifest: str | Path, path: Path) -> Path:
    """Write ESPnet's shape file: how many characters text and answer have.

    Args:
        manifest: whose rows have a transcript (``GT``).
        path: file to write.

    Returns:
        The file.
    """
    rows = read_manifest(manifest).items()
    lines = (f"{key} {len(row.get('GT', '')) + len(row['target'])}\n" for key, row in rows)
    atomic_text(path, "".join(lines))
    return path
