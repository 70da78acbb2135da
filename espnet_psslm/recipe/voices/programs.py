"""Voices of flite and festival, programs that speak where they are on PATH; for tests only."""

import logging
import re
import shutil
import subprocess
import tempfile
from abc import abstractmethod
from pathlib import Path
from typing import override

import numpy as np
import soundfile
import soxr

from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.recipe.voices.engines import Engine, Voice

TIMEOUT_S = 60  # of one sentence


class Program(Engine):
    """A synthesiser that is started for each sentence; it has no pitch."""

    fs = SAMPLE_RATE  # some of their voices speak at 8 or 32 kHz
    programs: tuple[str, ...]  # must be on PATH

    @classmethod
    @override
    def find_version(cls) -> str | None:
        if None in [shutil.which(program) for program in cls.programs]:
            return None
        try:
            return cls.voice_list()
        except (subprocess.SubprocessError, OSError) as error:
            logging.warning("%s does not tell its voices: %s", cls.programs[0], error)
            return None

    @classmethod
    @abstractmethod
    def voice_list(cls) -> str:
        """Names of its voices, separated by blanks; stands for the version."""

    @abstractmethod
    def write(self, text: str, *, voice: str, pace: float, path: Path) -> None:
        """Speak into a WAV file."""

    @override
    def say(self, text: str, *, voice: Voice, pace: float, pitch: float | None) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "said.wav"
            try:
                self.write(text, voice=voice.source, pace=pace, path=path)
                samples, rate = soundfile.read(path, dtype="float32")
            except (subprocess.SubprocessError, soundfile.LibsndfileError) as error:
                raise ValueError(
                    f"voice {voice.name} ({voice.engine}) cannot say {text!r}: {error}"
                ) from error
        return soxr.resample(samples, rate, self.fs)


class Flite(Program):
    """flite with its built-in voices."""

    programs = ("flite",)
    install = "install flite (Debian: apt-get install flite)"

    @classmethod
    @override
    def voice_list(cls) -> str:
        return _output("flite", "-lv").partition(":")[2].strip()

    @override
    def write(self, text: str, *, voice: str, pace: float, path: Path) -> None:
        stretch = f"duration_stretch={1 / pace:.4f}"
        _output("flite", "-voice", voice, "--setf", stretch, "-t", text, "-o", str(path))


class Festival(Program):
    """festival through text2wave."""

    programs = ("festival", "text2wave")
    install = "install festival and its voices (Debian: apt-get install festival festvox-kallpc16k)"

    @classmethod
    @override
    def voice_list(cls) -> str:
        return " ".join(re.findall(r"\w+", _output("festival", "--batch", "(print (voice.list))")))

    @override
    def write(self, text: str, *, voice: str, pace: float, path: Path) -> None:
        set_up = f"(begin (voice_{voice}) (Parameter.set 'Duration_Stretch {1 / pace:.4f}))"
        _output("text2wave", "-eval", set_up, "-o", str(path), said=text)


def _output(*command: str, said: str = "") -> str:
    done = subprocess.run(
        command, input=said, capture_output=True, text=True, check=True, timeout=TIMEOUT_S
    )
    return done.stdout
