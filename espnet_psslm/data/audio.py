"""One reader for all audio: a file of any kind, a Kaldi archive, or the output of a command.

What arrives is float32 with full scale at 1, mono, at the rate asked for. Whatever cannot be used
raises :class:`AudioError`, whether it is missing, not readable, cut off, absurd or no audio; none
is ever shortened or replaced in silence. Commands run for callers alone that say so.
"""

import io
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.common.lines import read_lines
from espnet_psslm.samples.audio_file import read_audio_file
from espnet_psslm.samples.segments import Part, read_sources

RATES = (1_000, 1_000_000)  # Hz, between which a recording's rate lies: others are broken headers
# 40 dB above full scale. Floating point may go above 1, as encoders and mixers do, and is kept;
# what is louder than this is on another scale, such as that of 16-bit integers.
LOUDEST = 100.0

_ARK = re.compile(r"(?P<path>.+):(?P<offset>[0-9]{1,18})", re.DOTALL)
_said: set[str] = set()  # what this process has warned about


class AudioError(ValueError):
    """Audio that cannot be used; the message says why, without naming the utterance."""


@dataclass(frozen=True)
class Recording:
    """Audio as it was asked for, and what it was before."""

    samples: np.ndarray  # (N,) float32, full scale at 1
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
        (N,) float32, full scale at 1.

    Raises:
        AudioError: if the source cannot be used.
    """
    return read_recording(source, fs=fs).samples


def read_recording(source: str, *, fs: int = SAMPLE_RATE, allow_pipes: bool = False) -> Recording:
    """Read one recording, which may be the output of a command.

    Args:
        source: as :func:`read_audio` takes it, or ``command |`` (its standard output is an
            audio file); or a part of either (``samples/segments``). What exists as a file is a
            file, whatever it is called.
        fs: Hz of the result.
        allow_pipes: run commands. For sources of a ``wav.scp``, where the user has asked for it.

    Returns:
        The samples, and how they were stored.

    Raises:
        AudioError: if the source cannot be used.
    """
    if part := Part.of(source):
        whole = _whole(part.source, fs, allow_pipes)
        with _audio_errors(source):
            return replace(whole, samples=part.cut(whole.samples, fs))
    with _audio_errors(source):
        samples, rate = _read_as_stored(source, allow_pipes=allow_pipes)
        return _convert(samples, rate, fs, source)


@lru_cache(maxsize=1)
def _whole(source: str, fs: int, allow_pipes: bool) -> Recording:
    """The recording that parts are taken of, mostly one after the other."""
    return read_recording(source, fs=fs, allow_pipes=allow_pipes)


def read_open_file(file: BinaryIO, *, name: str, fs: int = SAMPLE_RATE) -> np.ndarray:
    """Read audio that is no file on disk, such as standard input, to its end.

    Args:
        file: open; need not be seekable.
        name: for messages.
        fs: Hz of the result.

    Returns:
        (N,) float32, full scale at 1.

    Raises:
        AudioError: if it cannot be used.
    """
    with _audio_errors(name):
        samples, rate = read_audio_file(io.BytesIO(file.read()))
        return _convert(samples, rate, fs, name).samples


class AudioScpReader(Mapping):
    """``wav.scp`` as a mapping from utterance to samples, read on access.

    ESPnet data type ``psslm_audio``. Commands are not run here: stage 3 has written their output
    to files.

    Args:
        path: lines ``utt source``, sources as :func:`read_audio` takes them; relative paths are
            relative to the working directory, as in Kaldi. Where ``segments`` lies beside it,
            utterances are its parts of recordings.
        fs: Hz of the samples.

    Raises:
        ValueError: if a line has no source, an utterance comes twice, or there is none.
    """

    def __init__(self, path: str | Path, *, fs: int = SAMPLE_RATE) -> None:
        self.path, self.fs = str(path), fs
        read_scp(path)  # strict: every line has a source
        self.sources = read_sources(path)

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
    for number, line in read_lines(path):
        if not line.strip():
            continue
        utt_id, *value = line.strip().split(maxsplit=1)
        if not value:
            raise ValueError(f"{path}:{number}: '{utt_id}' has no value; write 'utt value'")
        if utt_id in entries:
            raise ValueError(f"{path}:{number}: utterance '{utt_id}' comes twice")
        entries[utt_id] = value[0]
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
            return read_audio_file(file)
    if source.rstrip().endswith("|"):
        return read_audio_file(io.BytesIO(_run(source, allow_pipes=allow_pipes)))
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


def _convert(samples: np.ndarray, rate: int, fs: int, source: str) -> Recording:
    """Make samples (N, channels) mono, of the rate asked for."""
    channels = samples.shape[1]
    if not len(samples):
        raise ValueError("holds no samples")
    if channels > 1:
        _say_once(f"audio with {channels} channels is mixed down to one", source)
    mono = samples.mean(axis=1) if channels > 1 else samples[:, 0]
    check_samples(mono)
    if rate != fs:
        mono = resample(mono, rate, fs)
        _say_once(f"audio at {rate} Hz is resampled to {fs} Hz", source)
    return Recording(np.ascontiguousarray(mono, dtype=np.float32), rate, channels)


def check_samples(samples: np.ndarray) -> None:
    """Refuse samples (N,) that are no sound.

    Nothing is scaled: a scale guessed from the peak would differ between recordings of one corpus.

    Raises:
        AudioError: if one is no finite number, or they are not in [-1, 1] by far.
    """
    peak = float(np.abs(samples).max())  # NaN if one is
    if not np.isfinite(peak):
        raise AudioError("holds samples that are not finite numbers; convert it again")
    if peak > LOUDEST:
        raise AudioError(
            f"holds samples up to {peak:g}, where 1 is full scale; divide them, by 32768 if they "
            "were 16-bit integers"
        )


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
