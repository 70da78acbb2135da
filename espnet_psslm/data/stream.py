"""Text streams: an endless sequence of shuffled batches from shards that fit no memory.

One pass over the corpus puts its blocks into a new order and cuts that into groups of as many
blocks as the buffer holds, from anywhere in the corpus. A group is read whole, its rows are
shuffled and cut into batches, by length where asked for. All of it depends on the seed and the
pass alone: every process and every data worker knows the same sequence of batches, takes its part
of each, and can begin anywhere in it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from espnet_psslm.data.shards import Shards

BUFFER_MB = 4.0  # about 30,000 sentences


class Position(NamedTuple):
    """A place in the sequence: the batch that comes next."""

    pass_: int
    group: int
    batch: int


START = Position(0, 0, 0)


@dataclass(frozen=True)
class Group:
    """Rows that were shuffled together.

    Args:
        lines: the rows, not parsed.
        places: block of each, and the number of its line in it.
        batches: indices of ``lines``, batch by batch.
    """

    lines: list[bytes]
    places: list[tuple[int, int]]
    batches: list[np.ndarray]


class TextStream:
    """The sequence of batches.

    Args:
        shards: the corpus.
        batch_size: rows of a batch over all processes; a group's rows are spread evenly over its
            batches, so that some have a row or two more.
        by_length: make batches of rows of similar length: of bytes of the line, which orders rows
            much as the number of their units and tokens does, and is known before tokenising.
        buffer_mb: text that is shuffled together, in MB.
        seed: of all order.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        batch_size: int,
        by_length: bool,
        buffer_mb: float = BUFFER_MB,
        seed: int = 0,
    ) -> None:
        if batch_size < 1 or buffer_mb <= 0:
            raise ValueError(
                f"batch_size ({batch_size}) and stream_conf.buffer_mb ({buffer_mb}) must be above 0"
            )
        self.shards = shards
        self.batch_size = batch_size
        self.by_length = by_length
        self.seed = seed
        blocks_in_buffer = max(1, int(buffer_mb * 1e6) // shards.block_bytes)
        self.num_groups = -(-len(shards) // blocks_in_buffer)

    def fingerprint(self) -> str:
        """Names the sequence: equal only where all batches are."""
        names = [path.name for path in self.shards.paths]
        known = [names, self.shards.sizes, self.shards.block_bytes, self.batch_size]
        known += [self.by_length, self.num_groups, self.seed]
        return hashlib.sha256(repr(known).encode()).hexdigest()[:16]

    def group(self, pass_: int, group: int) -> Group:
        """Read one group of a pass."""
        lines, places = self._read(pass_, group)
        rng = np.random.default_rng([self.seed, pass_, 1 + group])
        order = rng.permutation(len(lines))
        if self.by_length:
            lengths = np.array([len(line) for line in lines])
            order = order[np.argsort(lengths[order], kind="stable")]
        batches = np.array_split(order, self._num_batches(len(lines))) if lines else []
        return Group(lines, places, [batches[i] for i in rng.permutation(len(batches))])

    def follow(
        self, start: Position, *, passes: int | None = None
    ) -> Iterator[tuple[Position, Group, np.ndarray]]:
        """Batches from a position on.

        Args:
            start: the first one.
            passes: end behind so many passes, that of ``start`` included; None: never.

        Yields:
            The position behind a batch, its group, and indices of the group's lines.

        Raises:
            ValueError: if the corpus holds no row.
        """
        pass_, first_group, first_batch = start
        end = None if passes is None else pass_ + passes
        while pass_ != end:
            num_rows = 0
            for index in range(first_group, self.num_groups):
                group = self.group(pass_, index)
                num_rows += len(group.lines)
                for number in range(first_batch, len(group.batches)):
                    yield self._behind(pass_, index, number, group), group, group.batches[number]
                first_batch = 0
            if not num_rows and not first_group:
                raise ValueError(f"shards {self.shards.paths[0]} ...: blank lines only")
            pass_, first_group = pass_ + 1, 0

    def skip(self, start: Position, num_batches: int) -> Position:
        """The position some batches behind another; reads what lies between, but parses nothing."""
        pass_, group, batch = start
        left = batch + num_batches
        while left:
            here = self._num_batches(len(self._read(pass_, group)[0]))
            if left < here:
                break
            left -= here
            pass_, group = (pass_, group + 1) if group + 1 < self.num_groups else (pass_ + 1, 0)
        return Position(pass_, group, left)

    def _behind(self, pass_: int, index: int, number: int, group: Group) -> Position:
        if number + 1 < len(group.batches):
            return Position(pass_, index, number + 1)
        if index + 1 < self.num_groups:
            return Position(pass_, index + 1, 0)
        return Position(pass_ + 1, 0, 0)

    def _num_batches(self, num_rows: int) -> int:
        return max(1, num_rows // self.batch_size) if num_rows else 0

    def _read(self, pass_: int, group: int) -> tuple[list[bytes], list[tuple[int, int]]]:
        blocks = np.random.default_rng([self.seed, pass_, 0]).permutation(len(self.shards))
        lines: list[bytes] = []
        places: list[tuple[int, int]] = []
        for block in np.array_split(blocks, self.num_groups)[group].tolist():
            for ordinal, line in enumerate(self.shards.read(block)):
                if line and not line.isspace():
                    lines.append(line)
                    places.append((block, ordinal))
        return lines, places
