"""Speech made harder to recognise, so that an acoustic model errs on what it was trained on.

    speech -> pace -> gaps -> room -> noise -> band of the microphone -> clipping

One number says how hard: it sets how loud the noise is, and how likely all else is. An utterance
is made harder alike in whatever batch, job or run.
"""

import random

import numpy as np

from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.data.speed import change_speed
from espnet_psslm.recipe.voices.noise import NOISES
from espnet_psslm.recipe.voices.recording import Recording, draw_room, record

SNR_DB = 20.0, -5.0  # at strengths 0 and 1
SNR_SPREAD_DB = 3.0  # either way
SHARE = 0.6  # of utterances with another pace, at strength 1; likewise with gaps and all else
PACE = 0.8, 1.3
GAPS_S = 0.05, 0.25  # silence in place of speech
MAX_GAPS = 3
LOW_HZ, HIGH_HZ = (80.0, 400.0), (1800.0, 3800.0)  # edges of a band are drawn from
SHORTEST = 160  # samples, 10 ms
CLIPPING = 0.05, 0.4  # of the peak, where it is cut off


def make_harder(speech: np.ndarray, *, strength: float, key: str) -> np.ndarray:
    """Make one utterance harder.

    Args:
        speech: (N,), 16 kHz.
        strength: in (0, 1]: from a little noise to what is hardly understood.
        key: of the utterance; it and the strength draw everything.

    Returns:
        (M,) float32 in [-1, 1]; silence, and what is too short to be speech, as it is.
    """
    if len(speech) < SHORTEST or not np.any(speech):
        return speech
    # A string seed goes through SHA-512 in random.Random: the same on every machine.
    rng = random.Random(f"harder-{strength:g}-{key}")
    if rng.random() < SHARE * strength:
        speech = change_speed(speech, rng.uniform(*PACE), fs=SAMPLE_RATE)
    if rng.random() < SHARE * strength:
        speech = _with_gaps(speech, rng)
    recording = _draw(rng, strength)
    heard = record(speech, recording, rng=np.random.default_rng(rng.getrandbits(64)))
    return heard.astype(np.float32)


def _with_gaps(speech: np.ndarray, rng: random.Random) -> np.ndarray:
    """Silence over at most half of the speech; something of it stays."""
    heard = speech.copy()
    for _ in range(rng.randint(1, MAX_GAPS)):
        length = min(round(rng.uniform(*GAPS_S) * SAMPLE_RATE), len(speech) // (2 * MAX_GAPS))
        start = rng.randrange(len(speech) - length)
        heard[start : start + length] = 0.0
    return heard if np.any(heard) else speech


def _draw(rng: random.Random, strength: float) -> Recording:
    quiet, loud = SNR_DB
    return Recording(
        noise=rng.choice(NOISES),
        snr_db=quiet + strength * (loud - quiet) + rng.uniform(-SNR_SPREAD_DB, SNR_SPREAD_DB),
        level_db=0.0,
        before_s=0.0,
        after_s=0.0,
        room=draw_room(rng) if rng.random() < SHARE * strength else None,
        band_hz=(rng.uniform(*LOW_HZ), rng.uniform(*HIGH_HZ))
        if rng.random() < SHARE * strength
        else None,
        clipping=rng.uniform(*CLIPPING) if rng.random() < SHARE * strength else None,
    )
