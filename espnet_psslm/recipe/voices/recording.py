"""How a synthetic voice is recorded: level, room, microphone, clipping, noise.

    speech -> room -> noise -> band of the microphone -> clipping -> level

Rooms come from pyroomacoustics' image sources, filters from scipy. What is drawn for an utterance
is data (:class:`Recording`), so that it can be written down; :func:`record` applies it.
"""

import random
from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, oaconvolve, sosfilt

from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.recipe.voices.noise import NOISES, add_noise

MIN_SNR_DB, MAX_SNR_DB = 5.0, 30.0
MIN_SILENCE_S, MAX_SILENCE_S = 0.05, 0.20  # before and after the speech
PEAK = 0.9  # of full scale, at a level of 0 dB
MIN_LEVEL_DB, MAX_LEVEL_DB = -20.0, 0.0
ROOM_SHARE = 0.5  # of utterances that are recorded in a room
BAND_SHARE = 0.25  # through a telephone or a poor microphone
CLIPPED_SHARE = 0.1
MIN_ROOM_M, MAX_ROOM_M = (2.5, 2.0, 2.3), (8.0, 6.0, 3.5)
MIN_ABSORPTION, MAX_ABSORPTION = 0.25, 0.8  # of the sound's energy, at each wall
MAX_REFLECTIONS = 8  # of a sound's way; more is not heard
WALL_M = 0.3  # nobody speaks or listens closer to a wall
MIN_DISTANCE_M, MAX_DISTANCE_M = 0.2, 1.5  # from mouth to microphone
LOW_HZ, HIGH_HZ = (80.0, 400.0), (3000.0, 6000.0)  # edges of a microphone's band are drawn from
BAND_ORDER = 4
CLIPPING = (0.3, 0.8)  # of the peak, where it is cut off


@dataclass(frozen=True)
class Room:
    """A box with a mouth and a microphone in it; metres."""

    size: tuple[float, float, float]
    mouth: tuple[float, float, float]
    microphone: tuple[float, float, float]
    absorption: float


@dataclass(frozen=True)
class Recording:
    """How one utterance is recorded."""

    noise: str
    snr_db: float
    level_db: float
    before_s: float  # silence
    after_s: float
    room: Room | None = None
    band_hz: tuple[float, float] | None = None
    clipping: float | None = None  # of the peak


def draw_recording(rng: random.Random, *, rooms: bool) -> Recording:
    """Draw how an utterance is recorded.

    Args:
        rng: source of randomness.
        rooms: with rooms, microphones and clipping; else level and noise alone.
    """
    plain = {
        "noise": rng.choice(NOISES),
        "snr_db": round(rng.uniform(MIN_SNR_DB, MAX_SNR_DB), 1),
        "level_db": round(rng.uniform(MIN_LEVEL_DB, MAX_LEVEL_DB), 1),
        "before_s": round(rng.uniform(MIN_SILENCE_S, MAX_SILENCE_S), 3),
        "after_s": round(rng.uniform(MIN_SILENCE_S, MAX_SILENCE_S), 3),
    }
    if not rooms:
        return Recording(**plain)
    return Recording(
        **plain,
        room=draw_room(rng) if rng.random() < ROOM_SHARE else None,
        band_hz=(round(rng.uniform(*LOW_HZ)), round(rng.uniform(*HIGH_HZ)))
        if rng.random() < BAND_SHARE
        else None,
        clipping=round(rng.uniform(*CLIPPING), 2) if rng.random() < CLIPPED_SHARE else None,
    )


def draw_room(rng: random.Random) -> Room:
    """Draw a box with a mouth and a microphone in it."""
    size = [
        round(rng.uniform(low, high), 2) for low, high in zip(MIN_ROOM_M, MAX_ROOM_M, strict=True)
    ]
    mouth = [round(rng.uniform(WALL_M, length - WALL_M), 2) for length in size]
    distance = rng.uniform(MIN_DISTANCE_M, MAX_DISTANCE_M)
    direction = np.array([rng.gauss(0, 1) for _ in range(3)])
    place = np.array(mouth) + distance * direction / np.linalg.norm(direction)
    inside = np.clip(place, WALL_M, np.array(size) - WALL_M).round(2)
    return Room(
        tuple(size),
        tuple(mouth),
        tuple(inside.tolist()),
        round(rng.uniform(MIN_ABSORPTION, MAX_ABSORPTION), 2),
    )


def record(speech: np.ndarray, recording: Recording, *, rng: np.random.Generator) -> np.ndarray:
    """Record speech.

    Args:
        speech: (N,), 16 kHz, not silent.
        recording: how.
        rng: source of the noise's randomness.

    Returns:
        (M,) float64 in [-1, 1], with silence and a room's echo longer than the speech.
    """
    if recording.room is not None:
        speech = oaconvolve(speech, room_response(recording.room))
    silence = int(recording.before_s * SAMPLE_RATE), int(recording.after_s * SAMPLE_RATE)
    heard = add_noise(
        np.pad(speech, silence), kind=recording.noise, snr_db=recording.snr_db, rng=rng
    )
    if recording.band_hz is not None:
        band = butter(BAND_ORDER, recording.band_hz, btype="bandpass", fs=SAMPLE_RATE, output="sos")
        heard = sosfilt(band, heard)
    peak = np.abs(heard).max()
    if recording.clipping is not None:
        peak *= recording.clipping
        heard = np.clip(heard, -peak, peak)
    return heard * (PEAK * 10 ** (recording.level_db / 20) / peak)


def room_response(room: Room) -> np.ndarray:
    """Impulse response of a room (N,), from the direct sound on, which has height 1."""
    # Imported here: all else of a recording does without, and it comes with the mini recipe.
    try:
        import pyroomacoustics
    except ImportError as error:
        raise ValueError("rooms need pyroomacoustics: pip install 'espnet_psslm[mini]'") from error
    pyroomacoustics.constants.set("num_threads", 1)  # processes share the cores
    box = pyroomacoustics.ShoeBox(
        room.size,
        fs=SAMPLE_RATE,
        materials=pyroomacoustics.Material(room.absorption),
        max_order=MAX_REFLECTIONS,
    )
    box.add_source(room.mouth)
    box.add_microphone(room.microphone)
    box.compute_rir()
    response = np.asarray(box.rir[0][0], np.float64)
    direct = int(np.abs(response).argmax())
    return response[direct:] / np.abs(response[direct])
