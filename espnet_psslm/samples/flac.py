"""Write audio."""

import io
from pathlib import Path

import numpy as np
import soundfile

from espnet_psslm.atomic import atomic_file


def write_flac(path: str | Path, samples: np.ndarray, fs: int) -> None:
    """Write 16-bit FLAC, whole or not at all.

    Args:
        path: file to write.
        samples: (N,) in [-1, 1].
        fs: Hz.
    """
    # In memory first: libsndfile does not say why it could not write.
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, fs, format="FLAC", subtype="PCM_16")
    # There are many of them, and what names them is written later, and waits for the disk.
    with atomic_file(path, durable=False) as stream:
        stream.write(encoded.getbuffer())
