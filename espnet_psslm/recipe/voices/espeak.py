"""espeak-ng through ctypes: text to samples.

The library and its voices come with the package ``espeakng-loader``; nothing else is installed. It
keeps state between utterances (filter memories) that nothing resets, so every utterance is spoken
by a process of its own: a copy of the calling one, in which the library has never spoken.
"""

import ctypes
import os
from typing import override

import numpy as np

from espnet_psslm.recipe.voices.engines import Engine, Voice, package_version

OWN_RATE = 140  # words a minute at pace 1
WORD_GAP_10MS = 2  # pause between words; Whisper models understand espeak-ng better with it
AUDIO_OUTPUT_SYNCHRONOUS = 2
DONT_EXIT = 0x8000
RATE, PITCH, WORD_GAP = 1, 3, 7  # espeak_PARAMETER; words a minute, 0-100, 10 ms
CHARS_UTF8 = 1
EE_OK = 0
RAND_SEED = 1
SPOKEN, FAILED = b"s", b"f"  # how an answer of the other process begins

_SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Espeak(Engine):
    """espeak-ng; ``pitch`` is 0 to 100, with 50 for the voice's own.

    Raises:
        ValueError: if the library cannot be started.
    """

    fs = 22050
    has_pitch = True
    pitch_jitter, pace_jitter = 6.0, 0.06
    install = "run 'pip install espeakng-loader'"

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        fs = self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data, DONT_EXIT)
        if fs != self.fs:
            raise ValueError("espeak-ng does not start: reinstall the package espeakng-loader")
        self._blocks: list[bytes] = []
        self._callback = _SynthCallback(self._receive)  # must outlive the library's use
        self._library.espeak_SetSynthCallback(self._callback)

    @classmethod
    @override
    def find_version(cls) -> str | None:
        return package_version("espeakng-loader")

    @override
    def say(self, text: str, *, voice: Voice, pace: float, pitch: float | None) -> np.ndarray:
        reader, writer = os.pipe()
        with open(reader, "rb") as answer, open(writer, "wb") as pipe:
            child = os.fork()
            if child == 0:
                try:
                    rate = round(OWN_RATE * pace)
                    pipe.write(self._say(text, voice, rate=rate, pitch=round(pitch)))
                    pipe.flush()
                finally:
                    os._exit(0)  # nothing of the parent is to be closed or run here
            try:
                pipe.close()
                said = answer.read()
            finally:
                os.waitpid(child, 0)
        kind, samples = said[:1], said[1:]
        if kind != SPOKEN:
            raise ValueError(samples.decode() or f"espeak-ng died while it spoke {text!r}")
        return np.frombuffer(samples, np.int16).astype(np.float32) / 32768

    def _say(self, text: str, voice: Voice, *, rate: int, pitch: int) -> bytes:
        """``SPOKEN`` and the samples, or ``FAILED`` and why."""
        if self._library.espeak_SetVoiceByName(voice.source.encode()) != EE_OK:
            return FAILED + f"espeak-ng has no voice {voice.source!r}: correct voices.txt".encode()
        self._library.espeak_SetParameter(RATE, rate, 0)
        self._library.espeak_SetParameter(PITCH, pitch, 0)
        self._library.espeak_SetParameter(WORD_GAP, WORD_GAP_10MS, 0)
        # Breathy voices draw from espeak-ng's own generator, which it seeds from the clock, others
        # from the C library's.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(RAND_SEED))
        ctypes.CDLL(None).srand(RAND_SEED)
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        return SPOKEN + b"".join(self._blocks)

    def _receive(self, samples: object, num_samples: int, _events: object) -> int:
        if samples and num_samples > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, (num_samples,)).tobytes())
        return 0
