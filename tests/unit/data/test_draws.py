import zlib

import numpy as np
import pytest

from espnet_psslm.data.draws import generators


@pytest.mark.parametrize(
    "words",
    [(), (0,), (7, 0), (7, 3), (2**32 - 1, 1), (2**40, 2), (1, 2, 3), (1, 2, 3, 4), (2**32, 0)],
)
def test_same_as_a_generator_of_its_own(words):
    last = [0, 1, 2**32 - 1, *(zlib.crc32(b"%d" % i) for i in range(200))]
    for number, ours in zip(last, generators(words, last), strict=True):
        own = np.random.default_rng([*words, number])
        assert ours.bit_generator.state == own.bit_generator.state
        assert ours.integers(3) == own.integers(3)  # keeps half of a word for the next
        assert ours.random(5).tolist() == own.random(5).tolist()
        assert ours.uniform(0.0, 0.1) == own.uniform(0.0, 0.1)


def test_none():
    assert list(generators([1, 2], [])) == []
