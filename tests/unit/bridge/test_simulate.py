import numpy as np
import pytest

from espnet_psslm.bridge.simulate import TASUSimulator, one_hot_rows

NUM_UNITS, BLANK = 10, 0
UNITS = [3, 7, 7, 2, 9]


def draw(seed=0, units=UNITS, **options):
    simulator = TASUSimulator(NUM_UNITS, blank_id=BLANK, **options)
    return simulator(units, np.random.default_rng(seed))


def test_one_hot_rows_are_the_transcript():
    ids, probs = one_hot_rows(UNITS)
    assert ids.tolist() == [[unit] for unit in UNITS]
    assert probs.tolist() == [[1.0]] * len(UNITS)
    assert ids.dtype == np.int64
    assert probs.dtype == np.float32


def test_one_alpha_per_utterance():
    peaks = set()
    for seed in range(20):
        ids, probs = draw(seed, delete_prob=0.0, max_smoothing=0.2)
        assert ids[:, 0].tolist() == UNITS
        assert len(np.unique(probs)) == 1
        # (1 - alpha) + alpha / V with alpha in [0, 0.2]
        assert 0.8 + 0.02 - 1e-6 <= probs[0, 0] <= 1.0
        peaks.add(float(probs[0, 0]))
    assert len(peaks) == 20


def test_no_smoothing_is_one_hot():
    ids, probs = draw(delete_prob=0.0, max_smoothing=0.0)
    assert ids[:, 0].tolist() == UNITS
    assert (probs == 1.0).all()


def test_deletion_leaves_one_row_of_the_transcript():
    kept = {int(draw(seed, delete_prob=1.0)[0].item()) for seed in range(50)}
    assert kept == set(UNITS)


def test_share_of_deletions():
    units = [1] * 4000
    assert len(draw(units=units, delete_prob=0.05)[0]) == pytest.approx(3800, abs=60)


def test_insertions_are_duplicates_and_pure_blanks():
    units = [1 + i % 9 for i in range(1000)]
    ids, probs = draw(units=units, delete_prob=0.0, insert_prob=0.2)
    assert len(ids) == 1200
    blanks = ids[:, 0] == BLANK
    assert (probs[blanks] == 1.0).all()
    # A duplicate of an inserted blank is a blank as well: a little more than half.
    assert 100 - 35 < blanks.sum() < 100 + 45
    spoken = ids[~blanks, 0]
    runs = spoken[np.r_[True, spoken[1:] != spoken[:-1]]]
    assert runs.tolist() == units
    assert len(np.unique(probs[~blanks])) == 1
    assert ids[0, 0] == units[0]  # nothing is put before the first row


@pytest.mark.parametrize("duplicate_prob", [0.0, 1.0])
def test_insertions_of_one_kind(duplicate_prob):
    ids, _ = draw(delete_prob=0.0, insert_prob=1.0, duplicate_prob=duplicate_prob)
    assert len(ids) == 2 * len(UNITS)
    assert (ids == BLANK).sum() == (0 if duplicate_prob else len(UNITS))


def test_one_seed_one_draw():
    for one, other in zip(draw(5, insert_prob=0.5), draw(5, insert_prob=0.5), strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(draw(5)[1], draw(6)[1])


def test_empty_text_is_empty():
    ids, probs = draw(units=[], insert_prob=1.0)
    assert ids.shape == probs.shape == (0, 1)
