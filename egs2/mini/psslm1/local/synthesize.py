"""Speak sentences: espeak-ng voice, noise, 16 kHz mono FLAC, in several processes.

Every utterance has its own random numbers, drawn from the seed and its id. Work is cut into blocks
of fixed size, each spoken by a new process, because espeak-ng keeps state between utterances: so
the bytes do not depend on the number of processes.
"""

import multiprocessing
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from espeak import Espeak
from noise import FS, NOISES, add_noise
from scipy.signal import resample_poly

from espnet_psslm.progress import show_progress

BLOCK = 20  # utterances a process speaks
PITCH_JITTER, RATE_JITTER = 6, 8  # around the voice's own, in espeak-ng's units
WORD_GAP = 2  # 10 ms; Whisper models understand espeak-ng better with it
MIN_SNR_DB, MAX_SNR_DB = 5.0, 30.0
MIN_SILENCE_S, MAX_SILENCE_S = 0.05, 0.20  # before and after the speech
PEAK = 0.5  # of full scale, before the level is drawn
MIN_LEVEL_DB, MAX_LEVEL_DB = -12.0, 0.0

VOICES_FILE = Path(__file__).parent / "voices.txt"
VOICE_SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Voice:
    """One speaker."""

    name: str  # speaker id
    espeak: str  # espeak-ng's voice, accent + variant
    pitch: int  # 0 to 100
    rate: int  # words a minute
    split: str


@dataclass(frozen=True)
class Utterance:
    """What to speak, and how."""

    utt: str
    text: str
    path: str
    voice: Voice
    pitch: int
    rate: int
    noise: str
    snr_db: float


def read_voices(path: str | Path = VOICES_FILE) -> list[Voice]:
    """Read the table of voices.

    Args:
        path: lines "name espeak-voice pitch rate split"; "#" starts a comment line.

    Returns:
        The voices.

    Raises:
        ValueError: if a line is not of that form, or a speaker is in two splits.
    """
    voices: dict[str, Voice] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split()
        if len(fields) != 5 or fields[4] not in VOICE_SPLITS or fields[0] in voices:
            raise ValueError(
                f"{path}:{number}: {line!r}; write 'name espeak-voice pitch rate split', each "
                f"name once, split one of {', '.join(VOICE_SPLITS)}"
            )
        name, espeak, pitch, rate, split = fields
        voices[name] = Voice(name, espeak, int(pitch), int(rate), split)
    return list(voices.values())


def plan_utterances(
    texts: Sequence[str], *, split: str, voices: Sequence[Voice], folder: str, seed: int
) -> list[Utterance]:
    """Give every sentence a voice, pitch, rate and noise.

    Voices come round equally often; the rest is drawn.

    Args:
        texts: sentences.
        split: part of the utterance ids.
        voices: speakers to use.
        folder: where the audio will lie.
        seed: of all randomness.

    Returns:
        One Utterance a sentence, in the order of ``texts``.
    """
    rng = random.Random(f"voices-{split}-{seed}")
    order: list[Voice] = []
    while len(order) < len(texts):
        order += rng.sample(list(voices), len(voices))
    utterances = []
    for index, (text, voice) in enumerate(zip(texts, order, strict=False)):
        utt = f"{voice.name}-{split}{index:05d}"
        utterances.append(
            Utterance(
                utt=utt,
                text=text,
                path=f"{folder}/{utt}.flac",
                voice=voice,
                pitch=voice.pitch + rng.randint(-PITCH_JITTER, PITCH_JITTER),
                rate=voice.rate + rng.randint(-RATE_JITTER, RATE_JITTER),
                noise=rng.choice(NOISES),
                snr_db=round(rng.uniform(MIN_SNR_DB, MAX_SNR_DB), 1),
            )
        )
    return utterances


def speak_all(utterances: Sequence[Utterance], *, seed: int, nj: int, label: str) -> float:
    """Synthesise and write all utterances.

    Args:
        utterances: what to speak; their folders are made.
        seed: of all randomness.
        nj: processes.
        label: for the progress bar.

    Returns:
        Duration of all audio, seconds.
    """
    for folder in {Path(utterance.path).parent for utterance in utterances}:
        folder.mkdir(parents=True, exist_ok=True)
    blocks = [
        (list(utterances[start : start + BLOCK]), seed)
        for start in range(0, len(utterances), BLOCK)
    ]
    # fork: a new process costs milliseconds, and the parent never loads espeak-ng.
    context = multiprocessing.get_context("fork")
    total = 0
    with (
        context.Pool(nj, maxtasksperchild=1) as pool,
        show_progress(len(utterances), label, units="utterances") as count,
    ):
        for num_samples, done in pool.imap(_speak_block, blocks):
            total += num_samples
            count(done)
    return total / FS


def _speak_block(block: tuple[list[Utterance], int]) -> tuple[int, int]:
    """Speak one block; returns the number of samples and of utterances."""
    utterances, seed = block
    espeak = Espeak()
    total = 0
    for utterance in utterances:
        samples = speak(utterance, espeak=espeak, seed=seed)
        soundfile.write(utterance.path, samples, FS, subtype="PCM_16")
        total += len(samples)
    return total, len(utterances)


def speak(utterance: Utterance, *, espeak: Espeak, seed: int) -> np.ndarray:
    """Speak one utterance.

    Args:
        utterance: what to speak.
        espeak: the synthesiser.
        seed: of all randomness.

    Returns:
        (N,) float64 in [-1, 1], 16 kHz.
    """
    # A string seed goes through SHA-512 in random.Random: the same on every machine.
    rng = np.random.default_rng(random.Random(f"{utterance.utt}-{seed}").getrandbits(64))
    raw = espeak.say(
        utterance.text,
        voice=utterance.voice.espeak,
        pitch=utterance.pitch,
        rate=utterance.rate,
        word_gap=WORD_GAP,
    )
    speech = resample_poly(raw.astype(np.float64), FS, espeak.fs)
    speech *= PEAK * 10 ** (rng.uniform(MIN_LEVEL_DB, MAX_LEVEL_DB) / 20) / np.abs(speech).max()
    before, after = (rng.uniform(MIN_SILENCE_S, MAX_SILENCE_S, 2) * FS).astype(int)
    speech = np.pad(speech, (before, after))
    noisy = add_noise(speech, kind=utterance.noise, snr_db=utterance.snr_db, rng=rng)
    return np.clip(noisy, -1.0, 1.0)
