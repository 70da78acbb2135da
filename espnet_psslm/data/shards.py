"""Shards: a text corpus in many JSON Lines files, read in blocks of bytes.

A block is a stretch of one file; to it belong the lines that begin in it. Blocks are known from
the sizes of the files alone: nothing is read, counted or indexed before training starts, however
large the corpus is.
"""

import glob
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from espnet_psslm.common.lines import read_lines

BLOCK_BYTES = 1 << 17  # many lines, and little beside the buffer that blocks are shuffled in


def find_shards(name: str) -> list[Path]:
    """The files that a training option names.

    Args:
        name: a folder (its ``*.jsonl``), a pattern (``text/*.jsonl``), one ``.jsonl`` file, or any
            other file: a list of shards, a line each, relative to the list's folder.

    Returns:
        The files, sorted by path; in a list's own order.

    Raises:
        ValueError: if there is none, or one is missing or listed twice.
    """
    path = Path(name)
    if path.is_dir():
        shards, what = sorted(path.glob("*.jsonl")), f"folder {name} has no *.jsonl"
    elif glob.has_magic(name):
        shards, what = sorted(map(Path, glob.glob(name))), f"no file fits {name}"
    elif not path.is_file():
        raise ValueError(f"shards '{name}': no such file or folder")
    elif path.suffix == ".jsonl":
        shards, what = [path], ""
    else:
        shards = [path.parent / line.strip() for _, line in read_lines(path) if line.strip()]
        what = f"list {name} is empty"
    if not shards:
        raise ValueError(f"shards '{name}': {what}; write text as JSON Lines into *.jsonl files")
    if lacking := [shard for shard in shards if not shard.is_file()]:
        raise ValueError(f"shards '{name}': {lacking[0]} is no file; {len(lacking)} such in all")
    if len(set(shards)) < len(shards):
        raise ValueError(f"shards '{name}': a file is listed twice, its rows would be seen twice")
    return shards


class Shards:
    """The blocks of some files.

    Args:
        paths: the files.
        block_bytes: bytes of a block.

    Raises:
        ValueError: if all files are empty.
    """

    def __init__(self, paths: Sequence[Path], *, block_bytes: int = BLOCK_BYTES) -> None:
        self.paths = list(paths)
        self.block_bytes = block_bytes
        self.sizes = [path.stat().st_size for path in self.paths]
        blocks = [-(-size // block_bytes) for size in self.sizes]
        self._first = [0, *accumulate(blocks)]  # block of each file, and their number
        if not len(self):
            raise ValueError(f"shards {self.paths[0]} ...: all {len(paths)} files are empty")

    def __len__(self) -> int:
        """Number of blocks."""
        return self._first[-1]

    def place(self, block: int) -> tuple[Path, int]:
        """File of a block, and the byte where it starts."""
        shard = bisect_right(self._first, block) - 1
        return self.paths[shard], (block - self._first[shard]) * self.block_bytes

    def read(self, block: int) -> list[bytes]:
        """The lines that begin in a block, without their ends; blank ones too.

        Args:
            block: in [0, len).
        """
        path, start = self.place(block)
        end = start + self.block_bytes
        with open(path, "rb") as stream:
            if start:  # a line that begins before is of the block before
                stream.seek(start - 1)
                stream.readline()
            begin = stream.tell()
            if begin >= end:
                return []
            text = stream.read(end - begin)
            if not text.endswith(b"\n"):
                text += stream.readline()
        lines = text.split(b"\n")
        return lines if lines[-1] else lines[:-1]

    def line_number(self, block: int, ordinal: int) -> tuple[Path, int]:
        """File and number, counted from 1, of the n-th line of a block; reads the file up to it."""
        path, start = self.place(block)
        first = block - start // self.block_bytes
        before = sum(len(self.read(earlier)) for earlier in range(first, block))
        return path, before + ordinal + 1
