import zlib

import numpy as np
import pytest

from espnet_psslm.bridge.draws import Draws

LAST = [0, 1, 2**32 - 1, *(zlib.crc32(b"%d" % i) for i in range(200))]


def own_generators(words):
    return [np.random.default_rng([*words, number]) for number in LAST]


def assert_at(draws, generators):
    """The same states, and the same numbers from there on."""
    assert len(draws) == len(generators)
    for row, own in enumerate(generators):
        assert draws.generator(row).bit_generator.state == own.bit_generator.state


@pytest.mark.parametrize(
    "words",
    [(), (0,), (7, 0), (7, 3), (2**32 - 1, 1), (2**40, 2), (1, 2, 3), (1, 2, 3, 4), (2**32, 0)],
)
def test_same_as_a_generator_of_its_own(words):
    draws = Draws(words, LAST)
    assert_at(draws, own_generators(words))
    for ours, own in zip(draws, own_generators(words), strict=True):
        assert ours.integers(3) == own.integers(3)  # keeps half of a word for the next
        assert ours.random(5).tolist() == own.random(5).tolist()
        assert ours.uniform(0.0, 0.1) == own.uniform(0.0, 0.1)
    assert_at(draws, own_generators(words))  # what is drawn there is not noted


@pytest.mark.parametrize("words", [(7, 3), (2**40, 2)])
def test_numbers_drawn_together(words):
    """As many of each sample as it needs, none of some; whichever call comes next."""
    draws, own = Draws(words, LAST), own_generators(words)
    sizes = np.random.default_rng(0)
    for step in range(6):
        counts = sizes.integers(0, 40, size=len(LAST)) * sizes.integers(0, 2, size=len(LAST))
        expected = np.concatenate([rng.random(n) for rng, n in zip(own, counts, strict=True)])
        assert draws.random(counts).tolist() == expected.tolist()
        assert_at(draws, own)
        # Every other bound is 3 * 2^30: a quarter of the numbers are drawn again.
        bounds = sizes.integers(1, 4, size=len(LAST)) * (1 << 30) ** (step % 2)
        expected = [int(rng.integers(bound)) for rng, bound in zip(own, bounds, strict=True)]
        assert draws.integers(bounds).tolist() == expected
        assert_at(draws, own)


def test_none():
    draws = Draws([1, 2], [])
    assert list(draws) == []
    assert draws.random(np.zeros(0, np.int64)).tolist() == []
    assert draws.integers(np.zeros(0, np.int64)).tolist() == []
