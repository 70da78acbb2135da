import random
from dataclasses import replace

import numpy as np
import pytest

from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.recipe.voices.noise import NOISES, add_noise, make_noise
from espnet_psslm.recipe.voices.recording import (
    PEAK,
    Recording,
    Room,
    draw_recording,
    record,
    room_response,
)

QUIET = Recording("pink", 100.0, 0.0, 0.1, 0.2)  # nothing but level and silence
ROOM = Room((5.0, 4.0, 3.0), (1.0, 1.0, 1.5), (2.0, 3.0, 1.2), 0.3)
TONES = sum(
    np.sin(2 * np.pi * hz * np.arange(SAMPLE_RATE) / SAMPLE_RATE) for hz in (100, 1000, 7000)
)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("num_samples", [997, 16000])
def test_noise(kind: str, num_samples: int) -> None:
    noise = make_noise(kind, num_samples, np.random.default_rng(0))
    assert noise.shape == (num_samples,)
    assert np.mean(noise**2) == pytest.approx(1.0)
    assert np.array_equal(noise, make_noise(kind, num_samples, np.random.default_rng(0)))


def test_unknown_noise() -> None:
    with pytest.raises(ValueError, match="'rain' is unknown: use one of white"):
        make_noise("rain", 10, np.random.default_rng(0))


def test_snr() -> None:
    speech = np.sin(np.arange(SAMPLE_RATE) / 10)
    noisy = add_noise(speech, kind="pink", snr_db=7.0, rng=np.random.default_rng(0))
    ratio = np.mean(speech**2) / np.mean((noisy - speech) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(7.0)


def recorded(**changes) -> np.ndarray:
    return record(TONES, replace(QUIET, **changes), rng=np.random.default_rng(0))


def level(samples: np.ndarray, hz: int) -> float:
    """Amplitude of one tone, dB."""
    wave = np.exp(-2j * np.pi * hz * np.arange(len(samples)) / SAMPLE_RATE)
    return 20 * np.log10(abs(np.dot(samples, wave)))


def test_level_and_silence() -> None:
    samples = recorded(level_db=-6.0)
    assert len(samples) == SAMPLE_RATE + 1600 + 3200
    assert np.abs(samples).max() == pytest.approx(PEAK * 10 ** (-6 / 20), rel=1e-3)
    assert np.abs(samples[:1500]).max() < 1e-4 and np.abs(samples[-3100:]).max() < 1e-4


def test_a_band_takes_away_what_is_outside() -> None:
    plain, narrow = recorded(), recorded(band_hz=(300, 3400))
    lost = {hz: level(plain, hz) - level(narrow, hz) for hz in (100, 1000, 7000)}
    assert min(lost[100], lost[7000]) - lost[1000] > 20


def test_clipping_flattens_the_peaks() -> None:
    samples = recorded(clipping=0.4)
    top = np.abs(samples).max()
    assert np.mean(np.abs(samples) > 0.99 * top) > 0.1 > np.mean(recorded() > 0.99 * top)


def test_a_room_is_heard_after_the_direct_sound() -> None:
    response = room_response(ROOM)
    assert response[0] == 1.0 and np.abs(response[1:]).max() <= 1.0
    assert np.array_equal(response, room_response(ROOM))
    dry = room_response(replace(ROOM, absorption=0.9))
    assert np.sum(response**2) > np.sum(dry**2)
    assert len(recorded(room=ROOM)) == len(recorded()) + len(response) - 1


def test_what_is_drawn() -> None:
    rng = random.Random(0)
    drawn = [draw_recording(rng, rooms=True) for _ in range(400)]
    assert {d.noise for d in drawn} == set(NOISES)
    assert 0.4 < np.mean([d.room is not None for d in drawn]) < 0.6
    assert 0.15 < np.mean([d.band_hz is not None for d in drawn]) < 0.35
    assert 0.05 < np.mean([d.clipping is not None for d in drawn]) < 0.2
    for room in (d.room for d in drawn if d.room is not None):
        for place in (room.mouth, room.microphone):
            assert all(0.25 < x < side - 0.25 for x, side in zip(place, room.size, strict=True))
    plain = [draw_recording(rng, rooms=False) for _ in range(50)]
    assert all((d.room, d.band_hz, d.clipping) == (None, None, None) for d in plain)
    assert all(5 <= d.snr_db <= 30 for d in drawn + plain)
