"""Random numbers of many samples, each from a seed of its own, without a generator for each.

``numpy.random.default_rng([seed, epoch, checksum])`` takes longer than tokenising a sentence, and
so does every call of a generator. The same numbers are drawn here for all samples together: the
states are arrays. What cannot be drawn together comes from one generator that is set to a sample's
state.

numpy promises that SeedSequence and PCG64 stay as they are; the tests compare every state and
every number.

Legend: N samples, S numbers of all samples.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

POOL = 4  # words in which SeedSequence gathers entropy
WORD = 1 << 32
MASK_32 = np.uint64(WORD - 1)
MASK_64 = (1 << 64) - 1
MASK_128 = (1 << 128) - 1
PCG_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
Wide = tuple[np.ndarray, np.ndarray]  # 128-bit numbers: high and low words, uint64


class Draws:
    """Generators equal to ``default_rng([*words, x])`` for each x of ``last``.

    Args:
        words: what all seeds begin with.
        last: (N,), in [0, 2^32), what they end with.
    """

    def __init__(self, words: Sequence[int], last: Sequence[int]) -> None:
        self._state, self._increment = _start(words, last)
        # Half of a word that ``integers`` left for the next call of its kind.
        self._has_half = np.zeros(len(last), dtype=bool)
        self._half = np.zeros(len(last), dtype=np.uint64)
        self._generator = np.random.Generator(np.random.PCG64(0))

    def __len__(self) -> int:
        """N."""
        return len(self._has_half)

    def __iter__(self) -> Iterator[np.random.Generator]:
        """One and the same generator, set to each sample's state: good until the next."""
        return map(self.generator, range(len(self)))

    def generator(self, row: int) -> np.random.Generator:
        """The generator of a sample at its present state; good until another is asked for.

        What is drawn from it is not noted here.
        """
        self._generator.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": _join(self._state, row), "inc": _join(self._increment, row)},
            "has_uint32": int(self._has_half[row]),
            "uinteger": int(self._half[row]),
        }
        return self._generator

    def integers(self, bounds: np.ndarray) -> np.ndarray:
        """``integers(bound)`` of each sample's generator; a bound of 1 draws nothing.

        Args:
            bounds: (N,), in [1, 2^32).

        Returns:
            (N,), int64.
        """
        answers = np.zeros(len(self), dtype=np.int64)
        drawing = (bounds > 1).nonzero()[0]
        bound = bounds[drawing].astype(np.uint64)
        state = self._after(drawing, np.ones(len(drawing), dtype=np.int64))
        word = _output(state)
        product = (word & MASK_32) * bound
        answers[drawing] = product >> np.uint64(32)
        # Numbers that would make some answers likelier are drawn again, one sample at a time; so
        # are those that begin with half a word.
        again = (product & MASK_32) < (np.uint64(WORD) - bound) % bound
        again |= self._has_half[drawing]
        for row in drawing[again].tolist():
            answers[row] = self.generator(row).integers(bounds[row])
            self._note(row)
        plain = drawing[~again]
        self._set(plain, (state[0][~again], state[1][~again]))
        self._has_half[plain], self._half[plain] = True, word[~again] >> np.uint64(32)
        return answers

    def random(self, counts: np.ndarray) -> np.ndarray:
        """``random(count)`` of each sample's generator, one after the other.

        Args:
            counts: (N,), numbers of each sample.

        Returns:
            (S,), in [0, 1).
        """
        ends = counts.cumsum()
        row = np.repeat(np.arange(len(counts)), counts)
        state = self._after(row, np.arange(len(row)) - (ends - counts)[row] + 1)
        drawing = (counts > 0).nonzero()[0]
        last = ends[drawing] - 1
        self._set(drawing, (state[0][last], state[1][last]))
        return (_output(state) >> np.uint64(11)) * 2.0**-53

    def _after(self, row: np.ndarray, steps: np.ndarray) -> Wide:
        """States of some samples, so many steps on."""
        factors, sums = _jumps(1 << int(steps.max(initial=1)).bit_length())
        moved = _multiply(_at(factors, steps), _at(self._state, row))
        return _add(moved, _multiply(_at(sums, steps), _at(self._increment, row)))

    def _set(self, row: np.ndarray, state: Wide) -> None:
        self._state[0][row], self._state[1][row] = state

    def _note(self, row: int) -> None:
        """Take a sample's state over from the generator."""
        found = self._generator.bit_generator.state
        state = found["state"]["state"]
        self._state[0][row], self._state[1][row] = state >> 64, state & MASK_64
        self._has_half[row], self._half[row] = found["has_uint32"], found["uinteger"]


def _start(words: Sequence[int], last: Sequence[int]) -> tuple[Wide, Wide]:
    """States and increments of all generators."""
    if any(not 0 <= word < WORD for word in words) or len(words) >= POOL:
        states = [np.random.PCG64([*words, number]).state["state"] for number in last]
        return _split([s["state"] for s in states]), _split([s["inc"] for s in states])
    high, low, sequence_high, sequence_low = _seed_states(words, np.array(last, np.uint32)).T
    one = np.uint64(1)
    increment = sequence_high << one | sequence_low >> np.uint64(63), sequence_low << one | one
    state = _multiply(_add((high, low), increment), _split([PCG_MULTIPLIER]))
    return _add(state, increment), increment


@lru_cache(maxsize=32)
def _jumps(size: int) -> tuple[Wide, Wide]:
    """What a state and its increment are multiplied by in 0, 1, ... size - 1 steps."""
    factors, sums = [1], [0]
    for _ in range(size - 1):
        sums.append((sums[-1] * PCG_MULTIPLIER + 1) & MASK_128)
        factors.append(factors[-1] * PCG_MULTIPLIER & MASK_128)
    return _split(factors), _split(sums)


def _split(numbers: Sequence[int]) -> Wide:
    return (
        np.array([number >> 64 for number in numbers], dtype=np.uint64),
        np.array([number & MASK_64 for number in numbers], dtype=np.uint64),
    )


def _join(numbers: Wide, row: int) -> int:
    return int(numbers[0][row]) << 64 | int(numbers[1][row])


def _at(numbers: Wide, index: np.ndarray) -> Wide:
    return numbers[0][index], numbers[1][index]


def _add(one: Wide, other: Wide) -> Wide:
    low = one[1] + other[1]
    return one[0] + other[0] + (low < one[1]), low


def _multiply(one: Wide, other: Wide) -> Wide:
    """Products modulo 2^128, of halves of words."""
    half = np.uint64(32)
    one_high, one_low = one[1] >> half, one[1] & MASK_32
    other_high, other_low = other[1] >> half, other[1] & MASK_32
    crossed, crossed_back = one_high * other_low, one_low * other_high
    middle = (one_low * other_low >> half) + (crossed & MASK_32) + (crossed_back & MASK_32)
    high = one_high * other_high + (crossed >> half) + (crossed_back >> half) + (middle >> half)
    return high + one[0] * other[1] + one[1] * other[0], one[1] * other[1]


def _output(state: Wide) -> np.ndarray:
    """PCG64's 64 bits of a state: its words' exclusive or, rotated."""
    mixed, by = state[0] ^ state[1], state[0] >> np.uint64(58)
    return mixed >> by | mixed << (-by & np.uint64(63))


def _seed_states(words: Sequence[int], last: np.ndarray) -> np.ndarray:
    """What SeedSequence hands to PCG64 for each seed: (N, 4), uint64."""
    entropy = [np.full(len(last), word, dtype=np.uint32) for word in words]
    entropy += [last] + [np.zeros(len(last), dtype=np.uint32)] * (POOL - len(words) - 1)
    hashed = _Hash(0x43B0D7E5, 0x931E8875)
    pool = [hashed(word) for word in entropy]
    for source in range(POOL):
        for target in range(POOL):
            if source != target:
                pool[target] = _mix(pool[target], hashed(pool[source]))
    hashed = _Hash(0x8B51F9DD, 0x58F38DED)
    out = np.stack([hashed(pool[i % POOL]) for i in range(2 * POOL)], axis=1).astype(np.uint64)
    return out[:, 1::2] << np.uint64(32) | out[:, ::2]


class _Hash:
    """SeedSequence's hash, whose constant changes with every use."""

    def __init__(self, constant: int, multiplier: int) -> None:
        self.constant = constant
        self.multiplier = multiplier

    def __call__(self, value: np.ndarray) -> np.ndarray:
        value = value ^ np.uint32(self.constant)
        self.constant = self.constant * self.multiplier % WORD
        value = value * np.uint32(self.constant)
        return value ^ value >> np.uint32(16)


def _mix(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    value = one * np.uint32(0xCA01F9DD) - other * np.uint32(0x4973F715)
    return value ^ value >> np.uint32(16)
