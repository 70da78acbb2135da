"""One reader for all audio: wav, flac, mp3, a Kaldi archive, or the output of a command.

What arrives is float32 in [-1, 1], mono, at the rate asked for. Whatever cannot be used raises
:class:`AudioError`, whether it is missing, not readable, cut off, absurd or no audio; none is ever
shortened or replaced in silence. Commands run for callers alone that say so.
"""

import io
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from espnet_psslm.samples.wav_size import check_wav_size

SAMPLE_RATE = 16000  # Hz, what every acoustic model here expects
RATES = (1_000, 1_000_000)  # Hz, between which a recording's rate lies: others are broken headers

_ARK = re.compile(r"(?P<path>.+):(?P<offset>[0-9]{1,18})", re.DOTALL)
_said: set[str] = set()  # what this process has warned about


class AudioError(ValueError):
    """Audio that cannot be used; the message says why, without naming the utterance."""


@dataclass(frozen=True)
class Recording:
    """Audio as it was asked for, and what it was before."""

    samples: np.ndarray  # (N,) float32 in [-1, 1]
    rate: int  # Hz, as stored
    channels: int  # as stored


def read_audio(source: str, *, fs: int = SAMPLE_RATE) -> np.ndarray:
    """Read one recording; a command is never run.

    Another sampling rate is resampled and several channels are averaged; either is said once
    per process.

    Args:
        source: a path, or ``path.ark:offset`` (Kaldi archive of wav or flac).
        fs: Hz of the result.

    Returns:
        (N,) float32 in [-1, 1].

    Raises:
        AudioError: if the source cannot be used.
    """
    return read_recording(source, fs=fs).samples


def read_recording(source: str, *, fs: int = SAMPLE_RATE, allow_pipes: bool = False) -> Recording:
    """Read one recording, which may be the output of a command.

    Args:
        source: as :func:`read_audio` takes it, or ``command |`` (its standard output is a wav or
            flac file). What exists as a file is a file, whatever it is called.
        fs: Hz of the result.
        allow_pipes: run commands. For sources of a ``wav.scp``, where the user has asked for it.

    Returns:
        The samples, and how they were stored.

    Raises:
        AudioError: if the source cannot be used.
    """
    with _audio_errors(source):
        samples, rate = _read_as_stored(source, allow_pipes=allow_pipes)
        return _convert(samples, rate, fs, source)


def read_open_file(file: BinaryIO, *, name: str, fs: int = SAMPLE_RATE) -> np.ndarray:
    """Read audio that is no file on disk, such as standard input, to its end.

    Args:
        file: open; need not be seekable.
        name: for messages.
        fs: Hz of the result.

    Returns:
        (N,) float32 in [-1, 1].

    Raises:
        AudioError: if it cannot be used.
    """
    with _audio_errors(name):
        samples, rate = _decode(io.BytesIO(file.read()))
        return _convert(samples, rate, fs, name).samples


class AudioScpReader(Mapping):
    """``wav.scp`` as a mapping from utterance to samples, read on access.

    ESPnet data type ``psslm_audio``. Commands are not run here: stage 3 has written their output
    to files.

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


@contextmanager
def _audio_errors(source: str) -> Iterator[None]:
    """Turn all that a bad source leads to into an AudioError of one line that names it."""
    shown = source if source.isprintable() else repr(source)
    try:
        yield
    except FileNotFoundError as error:
        raise AudioError(f"{shown}: no such file") from error
    except OSError as error:
        raise AudioError(f"{shown}: cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise AudioError(
            f"{shown}: more samples than fit into memory; cut it, or correct its header"
        ) from error
    except ValueError as error:
        raise AudioError(f"{shown}: {error}") from error


def _read_as_stored(source: str, *, allow_pipes: bool) -> tuple[np.ndarray, int]:
    """Samples (N, channels) float32 and their rate, of any kind of source."""
    if os.path.isfile(source):
        with open(source, "rb") as file:
            return _decode(file)
    if source.rstrip().endswith("|"):
        return _decode(io.BytesIO(_run(source, allow_pipes=allow_pipes)))
    if in_archive := _ARK.fullmatch(source):
        # Imported here: files are read on machines that have no kaldiio.
        from espnet_psslm.samples.archive import read_entry

        _check_file(in_archive["path"])
        return read_entry(in_archive["path"], int(in_archive["offset"]))
    _check_file(source)
    raise FileNotFoundError  # it has come since it was looked for


def _check_file(path: str) -> None:
    """Raise OSError where there is none that can be read, ValueError where it is another thing."""
    os.stat(path)
    if not os.path.isfile(path):
        raise ValueError("no regular file")


def _run(source: str, *, allow_pipes: bool) -> bytes:
    if not allow_pipes:
        raise ValueError(
            "no such file. Commands run from a wav.scp alone, and with --allow_pipes true (stages "
            "2 and 3)"
        )
    from espnet_psslm.samples.pipe import run_pipe

    return run_pipe(source.rstrip().removesuffix("|"))


def _decode(file: BinaryIO) -> tuple[np.ndarray, int]:
    """Samples (N, channels) float32 and their rate, of a file from its beginning to its end."""
    if not file.seek(0, io.SEEK_END):
        raise ValueError("the file is empty")
    check_wav_size(file)
    try:
        with soundfile.SoundFile(file) as audio:
            announced, rate = audio.frames, audio.samplerate
            samples = audio.read(dtype="float32", always_2d=True)
    # TypeError: of a file that is called .raw, soundfile wants to be told everything.
    except (soundfile.SoundFileError, TypeError) as error:
        reason = getattr(error, "error_string", error)
        raise ValueError(f"is not audio, or damaged or truncated ({reason})") from error
    if len(samples) < announced:
        raise ValueError(f"truncated, {len(samples)} of {announced} samples are there")
    return samples, rate


def _convert(samples: np.ndarray, rate: int, fs: int, source: str) -> Recording:
    """Make samples (N, channels) mono, of the rate asked for."""
    channels = samples.shape[1]
    if not len(samples):
        raise ValueError("holds no samples")
    if channels > 1:
        _say_once(f"audio with {channels} channels is mixed down to one", source)
    mono = samples.mean(axis=1) if channels > 1 else samples[:, 0]
    if not np.isfinite(mono).all():
        raise ValueError("holds samples that are not finite numbers; convert it again")
    if rate != fs:
        _say_once(f"audio at {rate} Hz is resampled to {fs} Hz", source)
        mono = resample(mono, rate, fs)
    return Recording(np.ascontiguousarray(mono, dtype=np.float32), rate, channels)


def resample(samples: np.ndarray, rate: int, fs: int) -> np.ndarray:
    """Samples (N,) float32 of ``rate`` Hz at ``fs`` Hz.

    Raises:
        AudioError: if no recording has such a rate.
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(
            f"a sampling rate of {rate} Hz, where {RATES[0]} to {RATES[1]} are possible; correct it"
        )
    # Imported here: what has the right rate already is read without soxr.
    import soxr

    return soxr.resample(samples, rate, fs)


def _say_once(kind: str, source: str) -> None:
    if kind not in _said:
        _said.add(kind)
        logging.warning("%s (first: %s; said once)", kind, source)
