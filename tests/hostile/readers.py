"""The readers of files that come from anywhere, one call each, with whole files to begin with."""

import shutil
import tarfile
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_psslm.acoustic.ctranslate2 import MODEL_FILE, read_encoder
from espnet_psslm.bridge.steps_file import read_made, read_sample
from espnet_psslm.data.audio import read_audio
from espnet_psslm.pack_files import open_pack
from tests import whole_files

BLOCK = tarfile.BLOCKSIZE
BETWEEN = b"\0\0"  # of the two files that a pack's input stands for


@dataclass(frozen=True)
class Reader:
    """A reader of bytes.

    Args:
        read: called with the input and the only folder that it may write to.
        seeds: whole inputs.
    """

    read: Callable[[bytes, Path], None]
    seeds: Callable[[Path], list[bytes]]


def _write(folder: Path, name: str, data: bytes) -> Path:
    """A file alone in the folder ``in`` below the given one."""
    shutil.rmtree(folder, ignore_errors=True)
    path = folder / "in" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def fault_of(name: str, data: bytes, folder: Path) -> str | None:
    """Read one input.

    Args:
        name: of the reader.
        data: the input.
        folder: where it may write; alone in its own folder.

    Returns:
        What went wrong, and where: another error than ValueError with one line that names the file,
        or a file elsewhere. None if nothing.
    """
    try:
        READERS[name].read(data, folder)
    except ValueError as error:
        if "\n" in str(error) or str(folder / "in") not in str(error):
            return f"no line that names the file: {str(error)!r}"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "espnet_psslm" in frame.filename] or frames
        return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"
    found = {path.name for place in (folder, folder.parent) for path in place.iterdir()}
    strays = found - {folder.name, "in", "packs"}
    return f"wrote {strays}" if strays else None


def read_ark(data: bytes, folder: Path) -> None:
    samples = read_audio(f"{_write(folder, 'a.ark', data)}:0")
    assert samples.ndim == 1 and samples.dtype == np.float32


def read_steps(data: bytes, folder: Path) -> None:
    sample, spans = read_sample(f"{_write(folder, 'a.ark', data)}:0")
    first = next(iter(sample.values()))
    assert all(value.shape == first.shape for value in sample.values())
    assert first.dim() == 2 and spans.shape == (len(first), 2)


def read_how_made(data: bytes, folder: Path) -> None:
    assert isinstance(read_made(_write(folder, "a.ark", data)), dict | None)


def read_ctranslate2(data: bytes, folder: Path) -> None:
    config, state = read_encoder(_write(folder, MODEL_FILE, data).parent)
    assert state["conv1.weight"].shape == (config.d_model, config.num_mel_bins, 3)


def read_zip(data: bytes, folder: Path) -> None:
    _open(_write(folder, "a.zip", data), folder)


def read_tar(data: bytes, folder: Path) -> None:
    """Checksums are mended: else nearly nothing would get behind them."""
    blocks = [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]
    mended = b"".join(map(_with_checksum, blocks))
    _open(_write(folder, "a.tar", mended), folder)


def read_pack(data: bytes, folder: Path) -> None:
    """Both YAML files of a pack."""
    meta, _, config = data.partition(BETWEEN)
    members = whole_files.pack_members() | {"meta.yaml": meta, "psslm/config.yaml": config}
    _open(_write(folder, "a.zip", whole_files.as_zip(members)), folder)


def _open(path: Path, folder: Path) -> None:
    files = open_pack(path, cachedir=folder / "packs", max_unpacked_gb=0.01)
    assert all(Path(name).is_file() for name in files.values())


def _with_checksum(block: bytes) -> bytes:
    if block[257:262] != b"ustar" or len(block) < BLOCK:
        return block
    total = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def _packs(kind: Callable[..., bytes], *ways: object) -> Callable[[Path], list[bytes]]:
    return lambda _: [kind(whole_files.pack_members(), way) for way in ways]


def _yaml_files(_: Path) -> list[bytes]:
    members = whole_files.pack_members()
    meta, config = members["meta.yaml"], members["psslm/config.yaml"]
    more = b"a: &a [1, 2020-01-01, 0x1f, 1:30, 1e3, .inf, !!binary aGk=]\nb: *a\n<<: {c: 1}\n"
    return [meta + BETWEEN + config, meta + BETWEEN + more, more + BETWEEN + config]


READERS = {
    "ark": Reader(read_ark, lambda _: whole_files.ark_entries()),
    "steps": Reader(read_steps, whole_files.steps_records),
    "made": Reader(read_how_made, whole_files.arks),
    "ctranslate2": Reader(read_ctranslate2, lambda _: [whole_files.ctranslate2_model()]),
    "zip": Reader(
        read_zip,
        _packs(
            whole_files.as_zip,
            *(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA),
        ),
    ),
    "tar": Reader(read_tar, _packs(whole_files.as_tar, "w", "w:gz", "w:bz2", "w:xz")),
    "pack": Reader(read_pack, _yaml_files),
}
