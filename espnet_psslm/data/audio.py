"""One reader for all audio: wav, flac, mp3, a Kaldi archive, or the output of a command.

What arrives is float32 in [-1, 1], mono, at the rate asked for. A file that is missing, empty,
truncated or no audio raises :class:`AudioError`; none is ever shortened or replaced in silence.
"""

import io
import logging
import re
import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

SAMPLE_RATE = 16000  # Hz, what every acoustic model here expects

_ARK = re.compile(r"(?P<path>.+):(?P<offset>\d+)")
_UNKNOWN_SIZES = (0, 0x7FFFFFFF - 36, 0x7FFFFFFF, 0xFFFFFFFF)  # written by tools that stream
_said: set[str] = set()  # what this process has warned about


class AudioError(ValueError):
    """Audio that cannot be used; the message says why, without naming the utterance."""


def read_audio(source: str, *, fs: int = SAMPLE_RATE) -> np.ndarray:
    """Read one recording.

    Another sampling rate is resampled and several channels are averaged; either is said once
    per process.

    Args:
        source: a path, ``path.ark:offset`` (Kaldi archive of wav or flac), or ``command |``
            (its standard output is a wav or flac file).
        fs: Hz of the result.

    Returns:
        (N,) float32 in [-1, 1].

    Raises:
        AudioError: if the source is missing, empty, truncated, not audio, or holds NaN.
    """
    samples, rate = _read_as_stored(source.strip())
    if samples.shape[1] > 1:
        _say_once(f"audio with {samples.shape[1]} channels is mixed down to one", source)
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(mono).all():
        raise AudioError(f"{source}: holds samples that are not finite numbers; convert it again")
    if rate != fs:
        _say_once(f"audio at {rate} Hz is resampled to {fs} Hz", source)
        mono = resample(mono, rate, fs)
    return np.ascontiguousarray(mono, dtype=np.float32)


class AudioScpReader(Mapping):
    """``wav.scp`` as a mapping from utterance to samples, read on access.

    ESPnet data type ``psslm_audio``.

    Args:
        path: lines ``utt source``, sources as :func:`read_audio` takes them; relative paths are
            relative to the working directory, as in Kaldi.
        fs: Hz of the samples.

    Raises:
        ValueError: if a line has no source, an utterance comes twice, or there is none.
    """

    def __init__(self, path: str | Path, *, fs: int = SAMPLE_RATE) -> None:
        self.path, self.fs = str(path), fs
        self.sources = read_scp(path)

    def __getitem__(self, utt_id: str) -> np.ndarray:
        try:
            return read_audio(self.sources[utt_id], fs=self.fs)
        except AudioError as error:
            raise AudioError(
                f"utterance '{utt_id}' of {self.path}: {error}; stages 3 and 4 drop such files"
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)


def read_scp(path: str | Path) -> dict[str, str]:
    """Read a file of ``utt value`` lines; strict.

    Raises:
        ValueError: if a line has no value, an utterance comes twice, or there is none.
    """
    entries: dict[str, str] = {}
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            utt_id, _, value = line.strip().partition(" ")
            if not value.strip():
                raise ValueError(f"{path}:{number}: '{utt_id}' has no value; write 'utt value'")
            if utt_id in entries:
                raise ValueError(f"{path}:{number}: utterance '{utt_id}' comes twice")
            entries[utt_id] = value.strip()
    if not entries:
        raise ValueError(f"{path}: holds no utterance")
    return entries


def _read_as_stored(source: str) -> tuple[np.ndarray, int]:
    """Samples (N, channels) float32 and their rate, of any kind of source."""
    if source.endswith("|"):
        return _decode(io.BytesIO(_run(source[:-1])), source)
    in_archive = _ARK.fullmatch(source)
    if in_archive and not Path(source).exists():
        path, offset = Path(in_archive["path"]), int(in_archive["offset"])
    else:
        path, offset = Path(source), None
    if not path.is_file():
        raise AudioError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: the file is empty")
    with path.open("rb") as file:
        if offset is None:
            return _decode(file, source)
        return _decode(_archive_entry(file, offset, source), source)


def _run(command: str) -> bytes:
    done = subprocess.run(command, shell=True, capture_output=True, check=False)
    if done.returncode != 0 or not done.stdout:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no output"]
        raise AudioError(f"{command}|: failed with status {done.returncode} ({reason[-1]})")
    return done.stdout


def _archive_entry(file: BinaryIO, offset: int, source: str) -> BinaryIO:
    """The audio file at ``offset`` of a Kaldi archive, on its own."""
    file.seek(offset)
    head = file.read(14)
    if head[:5] == b"AUDIO":
        # kaldiio: width of the length field (one byte), length, file.
        width = head[5]
        length = int.from_bytes(head[6 : 6 + width], "little")
        file.seek(offset + 6 + width)
        return _exactly(file, length, source)
    file.seek(offset)
    if head[:4] == b"RIFF":
        return _exactly(file, 8 + struct.unpack("<I", head[4:8])[0], source)
    if head[:4] == b"fLaC":
        return io.BytesIO(file.read())  # its own header says where it ends
    raise AudioError(f"{source}: no wav or flac starts there (it starts with {head[:4]!r})")


def _exactly(file: BinaryIO, length: int, source: str) -> BinaryIO:
    data = file.read(length)
    if len(data) < length:
        raise AudioError(f"{source}: truncated, {len(data)} of {length} bytes are there")
    return io.BytesIO(data)


def _decode(file: BinaryIO, source: str) -> tuple[np.ndarray, int]:
    _check_wav_size(file, source)
    try:
        with soundfile.SoundFile(file) as audio:
            announced, rate = audio.frames, audio.samplerate
            samples = audio.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        reason = f"is not audio, or damaged or truncated ({error.error_string})"
        raise AudioError(f"{source}: {reason}") from error
    if len(samples) < announced:
        raise AudioError(f"{source}: truncated, {len(samples)} of {announced} samples are there")
    if len(samples) == 0:
        raise AudioError(f"{source}: holds no samples")
    return samples, rate


def _check_wav_size(file: BinaryIO, source: str) -> None:
    """libsndfile reads a cut wav as a shorter one: compare the data chunk with the file."""
    start = file.tell()
    size = file.seek(0, io.SEEK_END) - start
    file.seek(start)
    head = file.read(12)
    while head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        chunk = file.read(8)
        if len(chunk) < 8:
            raise AudioError(f"{source}: truncated, the wav header has no data")
        length = struct.unpack("<I", chunk[4:])[0]
        if chunk[:4] == b"data":
            present = start + size - file.tell()
            if length > present and length not in _UNKNOWN_SIZES:
                raise AudioError(f"{source}: truncated, {present} of {length} bytes are there")
            break
        file.seek(length + length % 2, io.SEEK_CUR)
    file.seek(start)


def resample(samples: np.ndarray, rate: int, fs: int) -> np.ndarray:
    """Samples (N,) float32 of ``rate`` Hz at ``fs`` Hz."""
    # Imported here: manifests and wav.scp are checked without torch.
    import torch
    import torchaudio.functional

    return torchaudio.functional.resample(torch.from_numpy(samples), rate, fs).numpy()


def _say_once(kind: str, source: str) -> None:
    if kind not in _said:
        _said.add(kind)
        logging.warning("%s (first: %s; said once)", kind, source)
