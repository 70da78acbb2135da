"""One audio file, from its first byte to its last.

Wav and flac are read by soundfile, which gives the very samples that were written. All else is
read by PyAV: libsndfile takes the length of an mp3 from its bit rate, reads the first of two joined
files, and knows neither m4a nor webm.
"""

import io
from typing import BinaryIO

import numpy as np
import soundfile

from espnet_psslm.samples.wav_size import with_wav_size

UNKNOWN_FRAMES = (1 << 63) - 1  # what libsndfile says of a flac that announces no length


def read_audio_file(file: BinaryIO) -> tuple[np.ndarray, int]:
    """Read a file of any kind.

    Args:
        file: open, seekable.

    Returns:
        Samples (N, channels) float32 with full scale at 1, and their rate in Hz.

    Raises:
        ValueError: if it is no audio, or not all of it.
    """
    if not file.seek(0, io.SEEK_END):
        raise ValueError("the file is empty")
    file = with_wav_size(file)
    head = file.read(12)
    if head[:4] == b"fLaC" or (head[:4] == b"RIFF" and head[8:] == b"WAVE"):
        file.seek(0)
        found = _read_exactly(file)
        if found is not None:
            return found
    # Imported here: wav and flac are read on machines that have no PyAV.
    from espnet_psslm.samples.containers import read_container

    file.seek(0)
    return read_container(file)


def _read_exactly(file: BinaryIO) -> tuple[np.ndarray, int] | None:
    """Samples and rate of a wav or flac file; None where soundfile is not sure of them."""
    try:
        audio = soundfile.SoundFile(file)
    except soundfile.SoundFileError:
        return None  # a wav may hold whatever codec there is
    with audio:
        if audio.frames == UNKNOWN_FRAMES or audio.subtype == "MPEG_LAYER_III":
            return None
        try:
            samples = audio.read(dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            reason = getattr(error, "error_string", error)
            raise ValueError(f"damaged or truncated ({reason})") from error
        if len(samples) < audio.frames:
            raise ValueError(f"truncated, {len(samples)} of {audio.frames} samples are there")
        return samples, audio.samplerate
