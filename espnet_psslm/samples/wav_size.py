"""Whether a wav file is as long as its header says: libsndfile reads a cut one as a shorter one."""

import io
import struct
from typing import BinaryIO

# Tools that stream announce 0 or the most that they can: sox 0x7FFFF000, others 0xFFFFFFFF.
UNKNOWN_FROM = 0x7FFF0000


def check_wav_size(file: BinaryIO) -> None:
    """Compare the data chunk of a wav file with what is there; other files are passed over.

    Args:
        file: from its beginning to its end; it is left at its beginning.

    Raises:
        ValueError: if data are lacking.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(12)
    while head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        chunk = file.read(8)
        if len(chunk) < 8:
            raise ValueError("truncated, the wav header has no data")
        length = struct.unpack("<I", chunk[4:])[0]
        if chunk[:4] == b"data":
            present = size - file.tell()
            if present < length < UNKNOWN_FROM:
                raise ValueError(f"truncated, {present} of {length} bytes are there")
            break
        file.seek(length + length % 2, io.SEEK_CUR)
    file.seek(0)
