"""espeak-ng through ctypes: text to samples.

The library and its voices come with the package ``espeakng-loader``; nothing is installed. The
library is not thread-safe and keeps state between utterances (filter memories), so a fixed order of
utterances in a new process is needed for the same bytes.
"""

import ctypes
from collections.abc import Callable

import espeakng_loader
import numpy as np

AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
RATE, PITCH, WORD_GAP = 1, 3, 7  # espeak_PARAMETER; words a minute, 0-100, 10 ms
CHARS_UTF8 = 1
EE_OK = 0
RAND_SEED = 1

_SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Espeak:
    """One synthesiser per process.

    Raises:
        ValueError: if the library cannot be started.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.fs = self._library.espeak_Initialize(
            AUDIO_OUTPUT_SYNCHRONOUS, 0, data, INITIALIZE_DONT_EXIT
        )
        if self.fs <= 0:
            raise ValueError("espeak-ng does not start: reinstall the package espeakng-loader")
        self._blocks: list[np.ndarray] = []
        self._callback = _SynthCallback(self._make_callback())  # must outlive the library's use
        self._library.espeak_SetSynthCallback(self._callback)

    def _make_callback(self) -> Callable[..., int]:
        def receive(samples: object, num_samples: int, _events: object) -> int:
            if samples and num_samples > 0:
                self._blocks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
            return 0

        return receive

    def say(self, text: str, *, voice: str, pitch: int, rate: int, word_gap: int = 0) -> np.ndarray:
        """Synthesise one text.

        Args:
            text: what to say.
            voice: espeak-ng voice, with a variant after "+" ("en-us+m3").
            pitch: 0 to 100, 50 is the voice's own.
            rate: words a minute.
            word_gap: pause between words, 10 ms at espeak-ng's usual rate.

        Returns:
            (N,) float32 in [-1, 1] at ``fs``.

        Raises:
            ValueError: if the voice does not exist or nothing was said.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != EE_OK:
            raise ValueError(f"espeak-ng has no voice {voice!r}: correct voices.txt")
        self._library.espeak_SetParameter(RATE, rate, 0)
        self._library.espeak_SetParameter(PITCH, pitch, 0)
        self._library.espeak_SetParameter(WORD_GAP, word_gap, 0)
        # Breathy voices draw from espeak-ng's own generator, which it seeds from the clock, others
        # from the C library's.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(RAND_SEED))
        ctypes.CDLL(None).srand(RAND_SEED)
        self._blocks.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._blocks:
            raise ValueError(f"espeak-ng voice {voice!r} said nothing for {text!r}")
        return np.concatenate(self._blocks).astype(np.float32) / 32768
