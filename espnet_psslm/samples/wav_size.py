"""The size that a wav file announces, against the one it has.

libsndfile reads a cut file as a shorter one, and one whose writer did not know its size as an empty
one.
"""

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
    with_wav_size(file)


def with_wav_size(file: BinaryIO) -> BinaryIO:
    """A file that libsndfile reads to its end.

    Args:
        file: of any kind, from its beginning to its end.

    Returns:
        The file, or a copy in memory if it is a wav file whose data are said to be of size 0;
        at its beginning.

    Raises:
        ValueError: if it is a wav file and data are lacking.
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
            start = file.tell()
            present = size - start
            if present < length < UNKNOWN_FROM:
                raise ValueError(f"truncated, {present} of {length} bytes are there")
            if present and not length:
                return _announcing(file, start)
            break
        file.seek(length + length % 2, io.SEEK_CUR)
    file.seek(0)
    return file


def _announcing(file: BinaryIO, start: int) -> io.BytesIO:
    """A copy whose data, which begin at ``start``, are said to be of unknown size."""
    file.seek(0)
    copy = io.BytesIO(file.read())
    copy.seek(start - 4)
    copy.write(struct.pack("<I", 0xFFFFFFFF))
    copy.seek(0)
    return copy
