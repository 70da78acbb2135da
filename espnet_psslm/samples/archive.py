"""Audio in a Kaldi archive, reached as ``path:offset`` and read by kaldiio.

kaldiio takes what it gets: a cut entry is a shorter one to it. Here whatever is shorter than it
announces is an error.
"""

import io
import os
import struct
from typing import Any, BinaryIO

import numpy as np
import soundfile
from kaldiio import python_wave
from kaldiio.matio import read_kaldi

from espnet_psslm.samples.wav_size import check_wav_size

# A wav, a flac, and kaldiio's own container around either. kaldiio reads other entries, too, and
# unpickles some of them, which runs whatever code they hold.
WAV, FLAC, CONTAINER = b"RIFF", b"fLaC", b"AUDIO"
# What kaldiio and what it calls raise on bytes that make no sense, beside ValueError.
DAMAGED = (EOFError, RuntimeError, struct.error, python_wave.Error, soundfile.SoundFileError)


def read_entry(path: str, offset: int) -> tuple[np.ndarray, int]:
    """Read one recording of an archive.

    Args:
        path: the archive.
        offset: where its entry begins, behind the key.

    Returns:
        Samples (N, channels) float32 in [-1, 1], and their rate in Hz.

    Raises:
        OSError: if the archive cannot be read.
        ValueError: if there is no audio at the offset, or not all of it.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(min(offset, size))
        kind = file.read(len(CONTAINER))
        if not kind.startswith((WAV, FLAC, CONTAINER)):
            raise ValueError(f"no wav or flac starts there (it starts with {kind!r})")
        file.seek(offset)
        try:
            samples, rate, announced = _read(_Whole(file, size), kind)
        except DAMAGED as error:
            raise ValueError(f"is not audio, or damaged or truncated ({error})") from error
    if len(samples) < announced:
        raise ValueError(f"truncated, {len(samples)} of {announced} samples are there")
    return samples, rate


def _read(entry: "_Whole", kind: bytes) -> tuple[np.ndarray, int, int]:
    """Samples, their rate, and how many the header announces."""
    if kind.startswith(WAV):
        start = entry.tell()
        header = python_wave.open(entry)
        announced = header.getnframes()
        entry.check(start + 8 + header.getfp().chunksize - entry.tell())
        entry.seek(start)
        rate, samples = read_kaldi(entry)
    else:
        rate, samples = read_kaldi(entry, load_kwargs={"dtype": "float32"})
        check_wav_size(io.BytesIO(entry.last))
        announced = soundfile.info(io.BytesIO(entry.last)).frames
    samples = _as_float(samples)
    return samples if samples.ndim == 2 else samples[:, None], rate, announced


def _as_float(samples: np.ndarray) -> np.ndarray:
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / 32768
    return samples.astype(np.float32, copy=False)


class _Whole:
    """A file of which a reader gets as many bytes as it asks for.

    Args:
        file: open, at the entry.
        size: of the file, bytes.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.last = b""  # what was read last: of a container, the audio file in it

    def read(self, count: int = -1) -> bytes:
        self.check(count)  # before memory is set aside for a length that makes no sense
        self.last = self.file.read(count)
        return self.last

    def check(self, count: int) -> None:
        """Raise ValueError where fewer bytes are left."""
        left = self.size - self.file.tell()
        if count > left:
            raise ValueError(f"truncated, {left} of {count} bytes are there")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)
