"""Speech made harder: alike each time, the harder the stronger."""

import numpy as np
import pytest

from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.recipe.voices.harder import make_harder

TIME = np.arange(SAMPLE_RATE) / SAMPLE_RATE
SPEECH = (0.3 * np.sin(2 * np.pi * 500 * TIME) * (1 + np.sin(2 * np.pi * 4 * TIME))).astype("f4")


def likeness(heard):
    """Largest correlation with the speech, whatever the delay of a room."""
    spectra = np.fft.rfft(SPEECH, 4 * SAMPLE_RATE), np.fft.rfft(heard, 4 * SAMPLE_RATE)
    together = np.fft.irfft(spectra[0].conj() * spectra[1])
    return np.abs(together).max() / np.linalg.norm(SPEECH) / np.linalg.norm(heard)


def test_an_utterance_is_made_harder_alike_each_time():
    first, again = (make_harder(SPEECH, strength=0.7, key="a") for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32 and 0.5 < np.abs(first).max() <= 1.0
    for other in (
        make_harder(SPEECH, strength=0.7, key="b"),
        make_harder(SPEECH, strength=0.6, key="a"),
    ):
        assert first.shape != other.shape or not np.allclose(first, other)


def test_the_stronger_the_less_is_left_of_the_speech():
    left = [
        np.mean([likeness(make_harder(SPEECH, strength=s, key=str(k))) for k in range(12)])
        for s in (0.1, 0.5, 1.0)
    ]
    assert left[0] > 0.9 > left[1] > left[2]


def test_some_of_it_is_faster_or_slower_with_gaps_or_in_a_room(monkeypatch):
    from espnet_psslm.recipe.voices import harder

    seen = []
    monkeypatch.setattr(
        harder, "record", lambda speech, recording, rng: seen.append((speech, recording)) or speech
    )
    for key in range(40):
        make_harder(SPEECH, strength=1.0, key=str(key))
    shares = {
        "pace": np.mean([len(speech) != len(SPEECH) for speech, _ in seen]),
        "gaps": np.mean([(speech == 0).sum() > 200 for speech, _ in seen]),
        **{
            name: np.mean([getattr(recording, name) is not None for _, recording in seen])
            for name in ("room", "band_hz", "clipping")
        },
    }
    assert all(0.35 < share < 0.85 for share in shares.values()), shares
    assert len({recording.noise for _, recording in seen}) == 4


def test_silence_stays_silence():
    assert not make_harder(np.zeros(400, "f4"), strength=1.0, key="a").any()
    assert not len(make_harder(np.zeros(0, "f4"), strength=1.0, key="a"))


@pytest.mark.parametrize("num_samples", [1, 5, 50])
def test_a_few_samples_are_no_error(num_samples):
    for key in range(20):
        heard = make_harder(SPEECH[100 : 100 + num_samples], strength=1.0, key=str(key))
        assert np.isfinite(heard).all()
