"""Speakers, what every synthesiser offers them, and the table of synthesisers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np


@dataclass(frozen=True)
class Voice:
    """One speaker.

    ``factor`` moves pitch and formants together, as a shorter or longer vocal tract does; the pace
    that is heard stays ``pace`` times the synthesiser's own.
    """

    name: str  # speaker id
    engine: str  # a name that engine_class knows
    source: str  # the engine's own name of the voice
    factor: float
    pace: float
    pitch: float | None  # in the engine's own unit; None where it has none
    share: int  # how often it speaks beside others of its split
    split: str


class Engine(ABC):
    """A synthesiser. One object lives in one process and speaks one text after the other."""

    fs: int  # Hz of what it says
    install: str  # how to get it
    has_pitch = False  # whether its voices have a pitch in the table
    # How far an utterance may be from its voice's own pitch, in the engine's unit, and pace.
    pitch_jitter = 0.0
    pace_jitter = 0.0

    @abstractmethod
    def say(self, text: str, *, voice: Voice, pace: float, pitch: float | None) -> np.ndarray:
        """Speak one text.

        Args:
            text: what to say, in English.
            voice: says which of the engine's voices speaks.
            pace: speed as a multiple of the engine's own.
            pitch: in the engine's own unit.

        Returns:
            (N,) float32 in [-1, 1] at ``fs``.

        Raises:
            ValueError: if the voice does not exist, or the text cannot be said.
        """

    @classmethod
    @abstractmethod
    def find_version(cls) -> str | None:
        """Version of what is installed; None where the engine is not."""


def package_version(*names: str) -> str | None:
    """Versions of Python packages, joined; None where one is not installed."""
    try:
        return "+".join(version(name) for name in names)
    except PackageNotFoundError:
        return None


def engine_class(name: str) -> type[Engine]:
    """Find an engine by name.

    Args:
        name: as in the table of voices.

    Raises:
        ValueError: if there is none of this name.
    """
    # Imported here: the engines' own files import this one.
    from espnet_psslm.recipe.voices.espeak import Espeak
    from espnet_psslm.recipe.voices.neural import Hibari, Kokoro
    from espnet_psslm.recipe.voices.programs import Festival, Flite

    engines: dict[str, type[Engine]] = {
        "espeak": Espeak,
        "hibari": Hibari,
        "kokoro": Kokoro,
        "flite": Flite,
        "festival": Festival,
    }
    if name not in engines:
        raise ValueError(f"there is no voice engine {name!r}; choose from {', '.join(engines)}")
    return engines[name]


@cache
def installed_version(name: str) -> str:
    """Version of an engine that must be installed.

    Args:
        name: as in the table of voices.

    Raises:
        ValueError: if it is not installed.
    """
    engine = engine_class(name)
    found = engine.find_version()
    if found is None:
        raise ValueError(f"the voice engine {name} is not installed: {engine.install}")
    return found
