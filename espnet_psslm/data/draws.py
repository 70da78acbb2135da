"""Random numbers of many samples, each from a seed of its own, without a generator for each.

``numpy.random.default_rng([seed, epoch, checksum])`` takes longer than tokenising a sentence. The
same numbers are drawn here from one generator whose state is set anew for every sample; the states
of all samples are computed together.

numpy promises that SeedSequence and PCG64 stay as they are; the test compares every state.
"""

from collections.abc import Iterator, Sequence

import numpy as np

POOL = 4  # words in which SeedSequence gathers entropy
WORD = 1 << 32
MASK_128 = (1 << 128) - 1
PCG_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645


def generators(words: Sequence[int], last: Sequence[int]) -> Iterator[np.random.Generator]:
    """Generators equal to ``default_rng([*words, x])`` for each x of ``last``.

    Args:
        words: what all seeds begin with; at most three numbers.
        last: in [0, 2^32), what they end with.

    Yields:
        One and the same generator, good until the next is asked for.
    """
    bits = np.random.PCG64(0)
    generator = np.random.Generator(bits)
    if any(not 0 <= word < WORD for word in words) or len(words) >= POOL:
        for number in last:
            yield np.random.default_rng([*words, number])
        return
    for words_64 in _seed_states(words, np.asarray(last, dtype=np.uint32)).tolist():
        high, low, sequence_high, sequence_low = words_64
        increment = (((sequence_high << 64 | sequence_low) << 1) | 1) & MASK_128
        state = ((high << 64 | low) + increment) * PCG_MULTIPLIER + increment & MASK_128
        bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": state, "inc": increment},
            "has_uint32": 0,
            "uinteger": 0,
        }
        yield generator


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
