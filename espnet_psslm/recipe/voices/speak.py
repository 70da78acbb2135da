"""Speak sentences: a voice, a room, noise; 16 kHz mono FLAC, made once and kept.

Every utterance has its own random numbers, drawn from the seed and its id, and the name of its
file says all that it depends on: a file that is there is not made again, one of other voices,
settings or versions has another name and is removed. So the bytes depend neither on the number of
processes nor on what was there before.
"""

import dataclasses
import hashlib
import json
import logging
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.common.workers import in_workers
from espnet_psslm.progress import show_progress
from espnet_psslm.recipe.voices.engines import (
    Engine,
    Voice,
    engine_class,
    installed_version,
    package_version,
)
from espnet_psslm.recipe.voices.recording import Recording, draw_recording, record
from espnet_psslm.recipe.voices.table import NEURAL
from espnet_psslm.samples.flac import write_flac

VERSION = 1  # of what turns an Utterance into samples; another one makes all speech anew
LIBRARIES = ("numpy", "scipy", "soxr", "pyroomacoustics")  # whose versions the samples depend on
MADE_HERE = re.compile(r".+-[0-9a-f]{12}\.flac|\..+\.tmp")  # names of files, half-written ones too
BLOCK = 4  # utterances of one engine that a process is given at once; Kokoro takes seconds


@dataclass(frozen=True)
class Utterance:
    """What to speak, and how."""

    utt: str
    text: str
    voice: Voice
    pace: float
    pitch: float | None
    recording: Recording
    seed: int
    folder: str

    @property
    def path(self) -> str:
        """Where its audio lies; another utterance, voice or version lies elsewhere."""
        settings = dataclasses.asdict(self) | {
            "folder": None,
            "engine": installed_version(self.voice.engine),
            "version": f"{VERSION} {_libraries()}",
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return f"{self.folder}/{self.utt}-{digest[:12]}.flac"


@cache
def _libraries() -> str | None:
    return package_version(*LIBRARIES)


def plan_utterances(
    texts: Sequence[str],
    *,
    split: str,
    voices: Sequence[Voice],
    folder: str,
    seed: int,
    rooms: bool = False,
) -> list[Utterance]:
    """Give every sentence a voice and a recording.

    Voices come round as often as their shares say; the rest is drawn.

    Args:
        texts: sentences.
        split: part of the utterance ids.
        voices: speakers to use.
        folder: where the audio will lie.
        seed: of all randomness.
        rooms: whether there are rooms and microphones, or level and noise alone.

    Returns:
        One Utterance a sentence, in the order of ``texts``.

    Raises:
        ValueError: if the engine of a voice is not installed.
    """
    for engine in {voice.engine for voice in voices}:
        installed_version(engine)
    rng = random.Random(f"voices-{split}-{seed}")
    turns = [voice for voice in voices for _ in range(voice.share)]
    order: list[Voice] = []
    while len(order) < len(texts):
        order += rng.sample(turns, len(turns))
    utterances = []
    for index, (text, voice) in enumerate(zip(texts, order, strict=False)):
        engine = engine_class(voice.engine)
        pitch_move, pace_move = (
            rng.uniform(-most, most) for most in (engine.pitch_jitter, engine.pace_jitter)
        )
        utterances.append(
            Utterance(
                utt=f"{voice.name}-{split}{index:05d}",
                text=text,
                voice=voice,
                pace=round(voice.pace + pace_move, 3),
                pitch=None if voice.pitch is None else round(voice.pitch + pitch_move, 3),
                recording=draw_recording(rng, rooms=rooms),
                seed=seed,
                folder=folder,
            )
        )
    return utterances


def speak_all(utterances: Sequence[Utterance], *, nj: int) -> float:
    """Synthesise and write all utterances that are not there yet; remove other files.

    Args:
        utterances: what to speak, of one set or of several; their folders are made.
        nj: processes.

    Returns:
        Duration of all audio, seconds.

    Raises:
        ValueError: if a text cannot be said, or a process is killed; what is finished is kept.
    """
    _clear({Path(u.folder) for u in utterances}, keep={Path(u.path) for u in utterances})
    lacking = [u for u in utterances if not Path(u.path).exists()]
    if kept := len(utterances) - len(lacking):
        logging.info("%d of %d utterances are spoken already", kept, len(utterances))
    blocks = _blocks(lacking)
    # The parent never loads a synthesiser.
    with show_progress(len(lacking), "speech", units="utterances") as count:
        for number, _ in in_workers(_speak_block, blocks, nj=nj, describe=_describe):
            count(len(blocks[number]))
    return sum(soundfile.info(utterance.path).duration for utterance in utterances)


def _clear(folders: Iterable[Path], *, keep: set[Path]) -> None:
    """Make folders, and remove what is of other voices, settings or versions, or half-written."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        stale = [p for p in folder.iterdir() if p not in keep and MADE_HERE.fullmatch(p.name)]
        for path in stale:
            path.unlink()
        if stale:
            logging.info("%s: %d files of other settings or versions removed", folder, len(stale))


def _blocks(utterances: Sequence[Utterance]) -> list[list[Utterance]]:
    """What a process is given at once, of one engine.

    Neural engines come last, mixed, so that progress is even: espeak-ng copies its process for each
    utterance, which takes several times as long once they are loaded.
    """
    by_engine: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        by_engine.setdefault(utterance.voice.engine, []).append(utterance)
    blocks = [
        items[start : start + BLOCK]
        for items in by_engine.values()
        for start in range(0, len(items), BLOCK)
    ]
    random.Random(0).shuffle(blocks)
    return sorted(blocks, key=lambda block: block[0].voice.engine in NEURAL)


def _describe(block: list[Utterance]) -> str:
    return f"spoke {', '.join(u.utt for u in block)} with {block[0].voice.engine}"


@cache
def _engine(name: str) -> Engine:
    """The engine of this process; it takes up to a second to load."""
    return engine_class(name)()


def _speak_block(block: list[Utterance]) -> None:
    engine = _engine(block[0].voice.engine)
    for utterance in block:
        samples = speak(utterance, engine=engine)
        write_flac(utterance.path, samples, SAMPLE_RATE)


def speak(utterance: Utterance, *, engine: Engine) -> np.ndarray:
    """Speak one utterance.

    Args:
        utterance: what to speak.
        engine: its synthesiser.

    Returns:
        (N,) float64 in [-1, 1], 16 kHz.

    Raises:
        ValueError: if the engine cannot say it.
    """
    # A string seed goes through SHA-512 in random.Random: the same on every machine.
    key = f"{utterance.utt}-{utterance.seed}"
    rng = np.random.default_rng(random.Random(key).getrandbits(64))
    factor = utterance.voice.factor
    # Played faster, speech is higher and faster: the pace is made good for.
    said = engine.say(
        utterance.text,
        voice=utterance.voice,
        pace=utterance.pace / factor,
        pitch=utterance.pitch,
    )
    if not np.any(said):
        raise ValueError(
            f"voice {utterance.voice.name} ({utterance.voice.engine}) said nothing for "
            f"{utterance.text!r} ({utterance.utt}); correct the sentence, or leave it out"
        )
    return record(
        soxr.resample(said, engine.fs * factor, SAMPLE_RATE), utterance.recording, rng=rng
    )
