"""Voices of flite and festival, where these programs are on PATH.

Each program is a class with ``say``, as the mini recipe's ``Espeak`` has it, so that the same noise
and level are added. A voice is named ``program:voice``; it keeps its own pitch and rate.
"""

import multiprocessing
import re
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import override

import numpy as np
import soundfile
from scipy.signal import resample_poly
from synthesize import Utterance, Voice, speak

FS = 16000  # Hz; both programs also have voices of 8 kHz
PITCH, RATE = 50, 140  # in espeak-ng's units; not used
TIMED = re.compile(r"_time\b")  # limited-domain voices, which can only tell the time


class Program(ABC):
    """A synthesiser that is started for each sentence."""

    command: str  # must be on PATH
    fs = FS

    @abstractmethod
    def voices(self) -> list[str]:
        """Names of its voices."""

    @abstractmethod
    def write(self, text: str, *, voice: str, path: Path) -> None:
        """Speak into a WAV file."""

    def say(self, text: str, *, voice: str, **_settings: int) -> np.ndarray:
        """Speak one text.

        Args:
            text: what to say.
            voice: ``program:voice``.

        Returns:
            (N,) float32 in [-1, 1] at ``fs``.

        Raises:
            ValueError: if the program fails or says nothing.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "said.wav"
            try:
                self.write(text, voice=voice.partition(":")[2], path=path)
                samples, rate = soundfile.read(path, dtype="float32")
            except (subprocess.CalledProcessError, soundfile.LibsndfileError) as error:
                raise ValueError(f"{voice} cannot say {text!r}: {error}; --installed false "
                                 "leaves such voices out") from error  # fmt: skip
        if not np.any(samples):
            raise ValueError(f"{voice} said nothing for {text!r}; --installed false leaves it out")
        return resample_poly(samples, FS, rate).astype(np.float32)


class Flite(Program):
    """flite with its built-in voices."""

    command = "flite"

    @override
    def voices(self) -> list[str]:
        listed = _output("flite", "-lv").partition(":")[2]
        return [name for name in listed.split() if not TIMED.search(name)]

    @override
    def write(self, text: str, *, voice: str, path: Path) -> None:
        _output("flite", "-voice", voice, "-t", text, "-o", str(path))


class Festival(Program):
    """festival through text2wave."""

    command = "text2wave"

    @override
    def voices(self) -> list[str]:
        listed = _output("festival", "--batch", "(print (voice.list))")
        return re.findall(r"\w+", listed)

    @override
    def write(self, text: str, *, voice: str, path: Path) -> None:
        _output("text2wave", "-eval", f"(voice_{voice})", "-o", str(path), said=text)


PROGRAMS: dict[str, type[Program]] = {"flite": Flite, "festival": Festival}


def _output(*command: str, said: str = "") -> str:
    done = subprocess.run(command, input=said, capture_output=True, text=True, check=True)
    return done.stdout


def installed_voices() -> list[Voice]:
    """All voices of the programs that are on PATH, for training.

    Returns:
        Voices whose field ``espeak`` is ``program:voice``.
    """
    return [
        Voice(f"{name}-{voice}", f"{name}:{voice}", PITCH, RATE, "train")
        for name, program in PROGRAMS.items()
        if shutil.which(name) and shutil.which(program.command)
        for voice in sorted(program().voices())
    ]


def is_installed_voice(voice: Voice) -> bool:
    """Whether the voice is one of :func:`installed_voices`."""
    return ":" in voice.espeak


def speak_installed(utterances: Sequence[Utterance], *, seed: int, nj: int) -> float:
    """Synthesise and write utterances of installed voices.

    Args:
        utterances: what to speak; their folders exist.
        seed: of level and noise.
        nj: processes.

    Returns:
        Duration of all audio, seconds.
    """
    with multiprocessing.get_context("fork").Pool(nj) as pool:
        return sum(pool.imap(partial(_speak_one, seed=seed), utterances)) / FS


def _speak_one(utterance: Utterance, *, seed: int) -> int:
    """Speak one utterance; returns the number of its samples."""
    program = PROGRAMS[utterance.voice.espeak.partition(":")[0]]()
    samples = speak(utterance, espeak=program, seed=seed)
    soundfile.write(utterance.path, samples, FS, subtype="PCM_16")
    return len(samples)
