"""Batches of two kinds, by counting."""

from collections import Counter

import pytest

from espnet_psslm.data.mixture import MixedSampler

# Lengths run through both kinds: t000 is as short as a000.
TEXT = [f"t{i:03d}" for i in range(300)]
AUDIO = [f"a{i:03d}" for i in range(0, 300, 15)]
BY_LENGTH = sorted([*TEXT, *AUDIO], key=lambda key: key[1:])


def batches(size=16):
    return [BY_LENGTH[i : i + size] for i in range(0, len(BY_LENGTH), size)]


def mixed(share, made=None):
    return MixedSampler(
        batches() if made is None else made,
        is_audio=lambda key: key.startswith("a"),
        audio_share=share,
    )


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_share_is_that_asked_for(share):
    sampler = mixed(share)
    made = sampler.generate(3)
    assert len(made) == len(sampler) == 20
    assert [len(batch) for batch in made] == [16] * 20
    counts = [sum(key.startswith("a") for key in batch) for batch in made]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == round(share * 320)


def test_no_sample_is_twice_in_a_batch_and_the_scarcer_kind_comes_often():
    made = mixed(0.5).generate(0)
    assert all(len(set(batch)) == len(batch) for batch in made)
    counts = Counter(key for batch in made for key in batch)
    audio = [counts[key] for key in AUDIO]
    assert sum(audio) == 160 and min(audio) >= 5  # 8 on average
    assert max(counts[key] for key in TEXT) == 1


def test_batches_stay_neighbours_in_length():
    for batch in mixed(0.25).generate(1):
        places = [int(key[1:]) for key in batch]
        assert max(places) - min(places) < 150  # of 300; at random it would be nearly all


def test_epochs_differ_and_come_again():
    sampler = mixed(0.25)
    assert sampler.generate(1) == sampler.generate(1)
    assert sampler.generate(1) != sampler.generate(2)
    drawn = {key for seed in range(20) for batch in sampler.generate(seed) for key in batch}
    assert drawn == {*TEXT, *AUDIO}


def test_batches_of_other_sizes_share_alike():
    made = [BY_LENGTH[:3], BY_LENGTH[3:4], BY_LENGTH[4:20], BY_LENGTH[20:]]
    drawn = mixed(0.05, made).generate(0)
    assert [len(batch) for batch in drawn] == [3, 1, 16, 300]
    assert sum(key.startswith("a") for batch in drawn for key in batch) == 16


@pytest.mark.parametrize(
    ("share", "made", "message"),
    [
        (0.0, None, "between 0 and 1"),
        (1.0, None, "between 0 and 1"),
        (0.5, [TEXT[:8], TEXT[8:16]], "4 samples with audio .* training data have 0"),
        (0.5, [AUDIO], "10 samples with text alone .* training data have 0"),
    ],
)
def test_what_cannot_be_mixed(share, made, message):
    with pytest.raises(ValueError, match=message):
        mixed(share, made)
