"""Noise for the synthetic speech: white, pink, mains hum, babble-like."""

import numpy as np
from scipy.fft import next_fast_len

from espnet_psslm.common.audio import SAMPLE_RATE

NOISES = ("white", "pink", "hum", "babble")


def make_noise(kind: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Make noise of unit power.

    Args:
        kind: one of ``NOISES``.
        num_samples: N.
        rng: source of randomness.

    Returns:
        (N,) float64.

    Raises:
        ValueError: if ``kind`` is unknown.
    """
    if kind == "white":
        noise = rng.standard_normal(num_samples)
    elif kind == "pink":
        noise = _shaped(num_samples, rng, exponent=0.5, low_hz=20.0, high_hz=SAMPLE_RATE / 2)
    elif kind == "hum":
        noise = _hum(num_samples, rng)
    elif kind == "babble":
        noise = _babble(num_samples, rng)
    else:
        raise ValueError(f"noise {kind!r} is unknown: use one of {', '.join(NOISES)}")
    return noise / np.sqrt(np.mean(noise**2))


def _shaped(
    num_samples: int,
    rng: np.random.Generator,
    *,
    exponent: float,
    low_hz: float,
    high_hz: float,
) -> np.ndarray:
    """White noise with a spectrum of f^-exponent (amplitude) between two frequencies."""
    padded = next_fast_len(num_samples, real=True)  # an FFT of prime length takes 20 times as long
    spectrum = np.fft.rfft(rng.standard_normal(padded))
    frequency = np.fft.rfftfreq(padded, 1 / SAMPLE_RATE)
    gain = np.zeros_like(frequency)
    band = (frequency >= low_hz) & (frequency <= high_hz)
    gain[band] = frequency[band] ** -exponent
    return np.fft.irfft(spectrum * gain, padded)[:num_samples]


def _hum(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Harmonics of 50 or 60 Hz over a little pink noise, as of a fan or a refrigerator."""
    time = np.arange(num_samples) / SAMPLE_RATE
    mains = rng.choice([50.0, 60.0])
    hum = sum(
        np.sin(2 * np.pi * mains * k * time + rng.uniform(0, 2 * np.pi)) / k for k in range(1, 13)
    )
    floor = _shaped(num_samples, rng, exponent=0.5, low_hz=20.0, high_hz=SAMPLE_RATE / 2)
    return hum + 0.5 * floor / np.std(floor)


def _babble(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Six speech-shaped noises, each swelling at syllable rate (2 to 6 Hz)."""
    time = np.arange(num_samples) / SAMPLE_RATE
    total = np.zeros(num_samples)
    # Six stretches of one noise, far apart, are as unlike as six noises and cost a sixth.
    noise = _shaped(num_samples, rng, exponent=1.0, low_hz=120.0, high_hz=4000.0)
    for voice in (np.roll(noise, number * num_samples // 6) for number in range(6)):
        rate, phase = rng.uniform(2.0, 6.0), rng.uniform(0, 2 * np.pi)
        total += voice * (1 + np.sin(2 * np.pi * rate * time + phase))
    return total


def add_noise(
    speech: np.ndarray, *, kind: str, snr_db: float, rng: np.random.Generator
) -> np.ndarray:
    """Add noise at a signal-to-noise ratio over the whole utterance.

    Args:
        speech: (N,).
        kind: one of ``NOISES``.
        snr_db: ratio of the powers, dB.
        rng: source of randomness.

    Returns:
        (N,) float64.
    """
    power = np.mean(speech.astype(np.float64) ** 2)
    noise = make_noise(kind, len(speech), rng)
    return speech + noise * np.sqrt(power / 10 ** (snr_db / 10))
