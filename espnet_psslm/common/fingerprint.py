"""What made a result: one hash of options and of the contents of files."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import espnet_psslm

PIECE = 1 << 20
WHOLE = 64 * PIECE  # of larger files, as many pieces as that has: training changes all of a file


def fingerprint(options: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """Hash options and contents.

    Args:
        options: plain values by name.
        files: by name a file, a folder, which stands for all files in it, or nested values with
            such names in them. What is no file stands for itself.

    Returns:
        A hash, the same wherever the files lie, and another one for another version of this
        package.
    """
    values = {"options": options, "files": _contents(files), "version": espnet_psslm.__version__}
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _contents(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _contents(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_contents(item) for item in value]
    if not value or not isinstance(value, str | Path):
        return value
    try:
        hashes = {name: _hash(path) for name, path in _files(Path(value))}
    except OSError:  # what cannot be read is judged by what reads it
        hashes = {}
    return hashes or str(value)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Files by their names from ``path`` on."""
    if path.is_file():
        yield "", path
    elif path.is_dir():
        for below in sorted(path.rglob("*")):
            if below.is_file():
                yield str(below.relative_to(path)), below


def _hash(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    step = PIECE if size <= WHOLE else size * PIECE // WHOLE
    with open(path, "rb") as stream:
        for start in range(0, size, step):
            stream.seek(start)
            digest.update(stream.read(PIECE))
    return digest.hexdigest()
