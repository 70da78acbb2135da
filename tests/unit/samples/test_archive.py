"""Archives, read by kaldiio: whole, or not at all."""

import pickle
import struct
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from espnet_psslm.samples.archive import read_entry
from tests.whole_files import RATE, contained, encoded, tone

TONE = tone()


def put(folder: Path, *entries: bytes) -> list[int]:
    """Write ``a.ark``; returns the offsets."""
    offsets, data = [], b""
    for number, entry in enumerate(entries):
        data += f"utt{number} ".encode()
        offsets.append(len(data))
        data += entry
    (folder / "a.ark").write_bytes(data)
    return offsets


ENTRIES = {
    "wav": encoded("WAV"),
    "8 bit": encoded("WAV", subtype="PCM_U8"),
    "flac": encoded("FLAC"),
    "wav in a container": contained(encoded("WAV")),
    "float in a container": contained(encoded("WAV", subtype="FLOAT")),
    "flac in a container": contained(encoded("FLAC")),
}


@pytest.mark.parametrize("kind", ENTRIES)
def test_every_kind_between_others(tmp_path: Path, kind: str) -> None:
    offsets = put(tmp_path, ENTRIES["wav"], ENTRIES[kind], ENTRIES["flac"])
    samples, rate = read_entry(f"{tmp_path}/a.ark", offsets[1])
    assert rate == RATE and samples.shape == (len(TONE), 1) and samples.dtype == np.float32
    np.testing.assert_allclose(samples[:, 0], TONE, atol=1e-2 if kind == "8 bit" else 1e-4)


@pytest.mark.parametrize("kind", ENTRIES)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.95])
def test_cut_entries(tmp_path: Path, kind: str, share: float) -> None:
    whole = ENTRIES[kind]
    (offset,) = put(tmp_path, whole[: max(6, int(share * len(whole)))])
    with pytest.raises(ValueError, match="truncated"):
        read_entry(f"{tmp_path}/a.ark", offset)


def test_two_channels(tmp_path: Path) -> None:
    both = (np.stack([TONE, -TONE], axis=1) * 32767).astype(np.int16)
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp") as write:
        write("utt", (RATE, both))
    samples, _ = read_entry(f"{tmp_path}/a.ark", len("utt "))
    np.testing.assert_allclose(samples, np.stack([TONE, -TONE], axis=1), atol=1e-4)


def lengthened(data: bytes, place: int, length: int) -> bytes:
    return data[:place] + struct.pack("<I", length) + data[place + 4 :]


WAV = ENTRIES["wav"]
DATA = WAV.index(b"data") + 4


@pytest.mark.parametrize(
    "entry",
    [
        lengthened(WAV, 4, 100),  # the whole shorter than its data
        lengthened(WAV, 4, 1 << 30),
        lengthened(WAV, DATA, 1 << 30),
        lengthened(lengthened(WAV, DATA, 1 << 30), 4, 1 << 30),
        contained(lengthened(WAV, DATA, 1 << 30)),
        contained(WAV, 1 << 62),  # more than any memory
        contained(WAV, 100),
        contained(b"no audio at all"),
        contained(b""),
        WAV[:12] + b"fmt \x00\x00\x00\x00" + WAV[20:],
    ],
)
def test_broken_lengths(tmp_path: Path, entry: bytes) -> None:
    (offset,) = put(tmp_path, entry)
    with pytest.raises(ValueError, match="truncated|not audio"):
        read_entry(f"{tmp_path}/a.ark", offset)


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("offset", [5, 5_000_000, 10**18])
def test_other_entries_are_refused_unread(tmp_path: Path, offset: int) -> None:
    put(tmp_path, b"PKL" + pickle.dumps(Touch(tmp_path / "EXECUTED")))
    with pytest.raises(ValueError, match="no wav or flac starts there"):
        read_entry(f"{tmp_path}/a.ark", offset)
    assert not (tmp_path / "EXECUTED").exists()
