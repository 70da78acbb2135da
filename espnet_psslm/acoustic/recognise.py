"""From audio to unit sequences with times: encode, search, align.

Batches are encoded one by one and searched together, because a step of a search costs one utterance
almost as much as twenty.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_psslm.acoustic.align import UnitSpan, align_units
from espnet_psslm.acoustic.ctc_search import CTCSearch, Hypothesis
from espnet_psslm.acoustic.model import CTCAcoustic
from espnet_psslm.data.audio_batches import AudioBatch, AudioBatches
from espnet_psslm.progress import track

SEARCH_VALUES = 2**22  # posterior values searched together, 16 MB; at least one batch


@dataclass
class Decoded:
    """What decoding found, and what it took."""

    utt_ids: list[str]  # in the order of wav.scp
    nbest: dict[str, list[Hypothesis]] = field(default_factory=dict)
    spans: dict[str, list[list[UnitSpan]]] = field(default_factory=dict)  # of each hypothesis
    search_s: float = 0.0
    align_s: float = 0.0
    frames: int = 0
    steps: int = 0

    @property
    def frames_per_step(self) -> float:
        """Frames of the audio for each step of the search."""
        return self.frames / max(self.steps, 1)

    def ranked(self, rank: int) -> dict[str, Hypothesis]:
        """Hypothesis of each utterance that has so many; rank 0 is the best."""
        found = {utt: self.nbest[utt] for utt in self.utt_ids if utt in self.nbest}
        return {
            utt: hypotheses[rank] for utt, hypotheses in found.items() if rank < len(hypotheses)
        }

    def ranked_spans(self, rank: int) -> dict[str, list[UnitSpan]]:
        """Alignments of the same hypotheses."""
        return {utt: self.spans[utt][rank] for utt in self.ranked(rank)}

    def add(
        self, utt_ids: list[str], log_posterior: Tensor, lengths: Tensor, search: CTCSearch
    ) -> None:
        """Search a batch and align what is found."""
        log_posterior[0, 0, 0].item()  # what the device still has to do is not search
        start = time.perf_counter()
        result = search(log_posterior, lengths)
        found = time.perf_counter()
        for utt, hypotheses, row, length in zip(
            utt_ids, result.nbest, log_posterior, lengths.tolist(), strict=True
        ):
            self.nbest[utt] = hypotheses
            self.spans[utt] = [
                align_units(row[:length], hyp.unit_ids, blank_id=search.blank_id)[0]
                for hyp in hypotheses
            ]
            self.frames += length
        self.steps += sum(result.num_steps)
        self.search_s += found - start
        self.align_s += time.perf_counter() - found


def posteriors(
    acoustic: CTCAcoustic, batches: Iterable[AudioBatch]
) -> Iterator[tuple[list[str], Tensor, Tensor]]:
    """Utterances, log posteriors (B, T, V) and lengths (B,) of as many batches as go together.

    Args:
        acoustic: the model.
        batches: the audio.
    """
    waiting: list[tuple[list[str], Tensor, Tensor]] = []
    for batch in batches:
        log_posterior, lengths = acoustic.log_posterior(
            batch.speech.to(acoustic.device), batch.speech_lengths.to(acoustic.device)
        )
        waiting.append((batch.utt_ids, log_posterior, lengths))
        if sum(rows.numel() for _, rows, _ in waiting) >= SEARCH_VALUES:
            yield _join(waiting)
            waiting = []
    if waiting:
        yield _join(waiting)


def _join(parts: list[tuple[list[str], Tensor, Tensor]]) -> tuple[list[str], Tensor, Tensor]:
    num_frames = max(rows.shape[1] for _, rows, _ in parts)
    return (
        [utt for utt_ids, _, _ in parts for utt in utt_ids],
        torch.cat([F.pad(rows, (0, 0, 0, num_frames - rows.shape[1])) for _, rows, _ in parts]),
        torch.cat([lengths for _, _, lengths in parts]),
    )


def decode(acoustic: CTCAcoustic, batches: AudioBatches, search: CTCSearch) -> Decoded:
    """Decode all batches.

    Args:
        acoustic: the model.
        batches: the audio.
        search: from posteriors to units.
    """
    decoded = Decoded(batches.utt_ids)
    shown = track(batches, len(batches), "decode", units="batches")
    for utt_ids, log_posterior, lengths in posteriors(acoustic, shown):
        decoded.add(utt_ids, log_posterior, lengths, search)
    return decoded
