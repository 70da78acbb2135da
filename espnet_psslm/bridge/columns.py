"""Many samples at once: each field one array, in place of an array a sample.

A text-only sample holds a few dozen numbers. Making, checking and joining an array for each of its
fields takes longer than tokenising it.

Legend: N samples, S values (numbers, or rows of them) of all samples, L the most that one has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import overload

import numpy as np

Sample = dict[str, np.ndarray]


@dataclass(frozen=True)
class Column:
    """One field of many samples.

    Args:
        values: (S, ...), sample after sample.
        ends: (N + 1,), where each sample begins, and the last ends.
    """

    values: np.ndarray
    ends: np.ndarray

    @classmethod
    def of_lists(cls, rows: Sequence[Sequence[int]]) -> "Column":
        """From ids of each sample."""
        ends = np.fromiter(accumulate(map(len, rows), initial=0), np.int64, len(rows) + 1)
        return cls(np.fromiter(chain.from_iterable(rows), np.int64, ends[-1]), ends)

    @classmethod
    def of_arrays(cls, rows: Sequence[np.ndarray]) -> "Column":
        """From an array of each sample; those without a row may have any width."""
        ends = np.fromiter(accumulate(map(len, rows), initial=0), np.int64, len(rows) + 1)
        filled = [row for row in rows if len(row)] or [rows[0]]
        return cls(np.concatenate(filled), ends)

    @classmethod
    def of_lengths(cls, values: np.ndarray, lengths: np.ndarray) -> "Column":
        """From all values and how many each sample has."""
        ends = np.zeros(len(lengths) + 1, dtype=np.int64)
        lengths.cumsum(out=ends[1:])
        return cls(values, ends)

    @property
    def lengths(self) -> np.ndarray:
        """(N,)."""
        return np.diff(self.ends)

    def __len__(self) -> int:
        """N."""
        return len(self.ends) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        """The values of one sample; not a copy."""
        return self.values[self.ends[row] : self.ends[row + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        """The values of each sample."""
        return map(self.__getitem__, range(len(self)))

    def part(self, start: int, stop: int) -> "Column":
        """Some samples; no value is copied."""
        ends = self.ends[start : stop + 1]
        return Column(self.values[ends[0] : ends[-1]], ends - ends[0])

    def select(self, kept: np.ndarray) -> "Column":
        """The samples at which a mask (N,) is true."""
        values = self.values[np.repeat(kept, self.lengths)]
        return Column.of_lengths(values, self.lengths[kept])

    def where(self, mask: np.ndarray) -> "Column":
        """Without the values at which a mask (S,) is false."""
        before = np.zeros(len(mask) + 1, dtype=np.int64)
        mask.cumsum(out=before[1:])
        return Column(self.values[mask], before[self.ends])

    def padded(self, padding: np.ndarray, *, least: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """All samples in one array.

        Args:
            padding: (...), what stands where a sample has no value.
            least: values that the array has room for at least.

        Returns:
            (N, L, ...) and lengths (N,).
        """
        lengths = self.lengths
        longest = max(least, int(lengths.max()))
        out = np.empty((len(lengths), longest, *padding.shape), dtype=padding.dtype)
        out[...] = padding
        out[np.arange(longest) < lengths[:, None]] = self.values
        return out, lengths


@dataclass(frozen=True)
class TextSamples(Sequence[tuple[str, Sample]]):
    """Text-only samples: a sequence of keys and arrays, as single samples are.

    Args:
        uids: keys of the samples.
        prompt_index: of each.
        columns: the other fields.
    """

    uids: list[str]
    prompt_index: list[int]
    columns: dict[str, Column]

    def __len__(self) -> int:
        """N."""
        return len(self.uids)

    @overload
    def __getitem__(self, row: int) -> tuple[str, Sample]: ...

    @overload
    def __getitem__(self, row: slice) -> "TextSamples": ...

    def __getitem__(self, row: int | slice) -> "tuple[str, Sample] | TextSamples":
        """Key and arrays of one sample, or some samples in a row."""
        if isinstance(row, slice):
            start, stop, step = row.indices(len(self))
            assert step == 1, "samples in a row only"
            columns = {name: column.part(start, stop) for name, column in self.columns.items()}
            return TextSamples(self.uids[start:stop], self.prompt_index[start:stop], columns)
        row = range(len(self))[row]
        arrays = {"prompt_index": np.array([self.prompt_index[row]])}
        return self.uids[row], arrays | {name: c[row] for name, c in self.columns.items()}

    def select(self, kept: np.ndarray) -> "TextSamples":
        """The samples at which a mask (N,) is true."""
        rows = kept.nonzero()[0].tolist()
        columns = {name: column.select(kept) for name, column in self.columns.items()}
        return TextSamples(
            [self.uids[row] for row in rows], [self.prompt_index[row] for row in rows], columns
        )

    def __iter__(self) -> Iterator[tuple[str, Sample]]:
        """Key and arrays of each."""
        return (self[row] for row in range(len(self)))
