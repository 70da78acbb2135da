"""Audio of a data folder in batches of similar length, for decoding and for dumping."""

import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.data.audio import AudioError, AudioScpReader
from espnet_psslm.data.kaldi import read_counts
from espnet_psslm.samples.segments import Part


@dataclass(frozen=True)
class AudioBatch:
    """Utterances, zero-padded to the longest."""

    utt_ids: list[str]
    speech: Tensor  # (B, N), 16 kHz, in [-1, 1]
    speech_lengths: Tensor  # (B,), samples


class AudioBatches:
    """Read the audio of a data folder, longest utterances first.

    Longest first: memory that suffices for the first batch suffices for all. What cannot be read
    is left out and kept in ``skipped``, by utterance with the reason; it fills while one reads.

    Args:
        data_dir: holds ``wav.scp``, if need be with ``segments``; with ``utt2num_samples`` (stage 3
            writes it) no file is looked into before it is read.
        batch_size: utterances per batch.
        change: from an utterance and its samples to those that are wanted in their place.

    Raises:
        ValueError: if ``wav.scp`` is missing, or ``utt2num_samples`` lacks an utterance.
    """

    def __init__(
        self,
        data_dir: str | Path,
        *,
        batch_size: int,
        change: Callable[[str, np.ndarray], np.ndarray] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"--batch_size {batch_size}: must be at least 1")
        wav_scp, counts = Path(data_dir) / "wav.scp", Path(data_dir) / "utt2num_samples"
        if not wav_scp.is_file():
            raise ValueError(f"{wav_scp}: no such file; it has a line 'utterance path' for each")
        self.audio = AudioScpReader(wav_scp)
        self.change = change
        if counts.is_file():
            self.counts = read_counts(counts)
        else:
            self.counts = {utt: _announced(source) for utt, source in self.audio.sources.items()}
        self.skipped: dict[str, str] = {}
        missing = [utt for utt in self.audio if utt not in self.counts]
        if missing:
            raise ValueError(f"{counts}: lacks {len(missing)} utterances of wav.scp ({missing[0]})")
        self.utt_ids = list(self.audio)
        ordered = _longest_first(self.counts, self.audio.sources)
        self.batches = [
            ordered[first : first + batch_size] for first in range(0, len(ordered), batch_size)
        ]

    @property
    def num_samples(self) -> int:
        """Samples of all audio that is not left out."""
        return sum(self.counts[utt] for utt in self.utt_ids if utt not in self.skipped)

    def leave_out(self, done: Container[str]) -> None:
        """Read no more what is done; batches that have nothing of it stay as they are."""
        left = [[utt for utt in batch if utt not in done] for batch in self.batches]
        self.batches = [batch for batch in left if batch]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[AudioBatch]:
        for utt_ids in self.batches:
            signals = self._read(utt_ids)
            if signals:
                yield AudioBatch(
                    list(signals),
                    torch.nn.utils.rnn.pad_sequence(list(signals.values()), batch_first=True),
                    torch.tensor([len(signal) for signal in signals.values()]),
                )

    def _read(self, utt_ids: Sequence[str]) -> dict[str, Tensor]:
        """The audio of those utterances that can be read."""
        signals = {}
        for utt in utt_ids:
            try:
                samples = self.audio[utt]
                if self.change is not None:
                    samples = self.change(utt, samples)
                signals[utt] = torch.from_numpy(samples)
                self.counts[utt] = len(signals[utt])
            except AudioError as error:
                self.skipped[utt] = str(error)
        return signals


def _longest_first(counts: Mapping[str, int], sources: Mapping[str, str]) -> list[str]:
    """Utterances by length; parts of one recording stay together, so that it is read once."""
    parts = {utt: Part.of(source) for utt, source in sources.items()}
    recording = {utt: sources[utt] if p is None else p.source for utt, p in parts.items()}
    longest: dict[str, int] = {}
    for utt, name in recording.items():
        longest[name] = max(longest.get(name, 0), counts[utt])
    return sorted(sources, key=lambda u: (-longest[recording[u]], recording[u], -counts[u]))


def _announced(source: str) -> int:
    """Samples of an utterance, as far as they can be told without reading it; orders batches."""
    part = Part.of(source)
    if part is not None and part.end_s is not None:
        return round((part.end_s - part.start_s) * SAMPLE_RATE)
    path = source if part is None else part.source
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError, ValueError, TypeError):
        return os.path.getsize(path) if os.path.isfile(path) else 0
    return info.frames * SAMPLE_RATE // max(1, info.samplerate)
