"""Audio of a data folder in batches of similar length, for decoding and for dumping."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from espnet_psslm.data.audio import AudioError, AudioScpReader, read_scp


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
        data_dir: holds ``wav.scp`` and ``utt2num_samples`` (stage 3 writes both).
        batch_size: utterances per batch.

    Raises:
        ValueError: if a file is missing, or ``utt2num_samples`` lacks an utterance.
    """

    def __init__(self, data_dir: str | Path, *, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"--batch_size {batch_size}: must be at least 1")
        wav_scp, counts = Path(data_dir) / "wav.scp", Path(data_dir) / "utt2num_samples"
        for path in (wav_scp, counts):
            if not path.is_file():
                raise ValueError(f"{path}: no such file; stage 3 (bin/format_wav) writes it")
        self.audio = AudioScpReader(wav_scp)
        self.counts = {utt: int(count) for utt, count in read_scp(counts).items()}
        self.skipped: dict[str, str] = {}
        missing = [utt for utt in self.audio if utt not in self.counts]
        if missing:
            raise ValueError(f"{counts}: lacks {len(missing)} utterances of wav.scp ({missing[0]})")
        self.utt_ids = list(self.audio)
        ordered = sorted(self.utt_ids, key=self.counts.__getitem__, reverse=True)
        self.batches = [
            ordered[first : first + batch_size] for first in range(0, len(ordered), batch_size)
        ]

    @property
    def num_samples(self) -> int:
        """Samples of all audio that is not left out."""
        return sum(self.counts[utt] for utt in self.utt_ids if utt not in self.skipped)

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
                signals[utt] = torch.from_numpy(self.audio[utt])
            except AudioError as error:
                self.skipped[utt] = str(error)
        return signals
