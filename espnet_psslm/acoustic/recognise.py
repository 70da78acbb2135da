"""From audio to unit sequences with times: encode, search, align.

Batches are encoded one by one and searched together, because a step of a search costs one utterance
almost as much as twenty.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_psslm.acoustic.align import UnitSpan, align_units
from espnet_psslm.acoustic.ctc_search import CTCSearch, Hypothesis
from espnet_psslm.acoustic.model import CTCAcoustic
from espnet_psslm.common.kept_parts import KeptParts
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
    wall_s: float = 0.0  # of all, from audio to aligned units
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

    def add(self, part: dict[str, Any]) -> None:
        """Take what :func:`search_part` found."""
        for utt, found in part["found"].items():
            self.nbest[utt] = [Hypothesis(*values) for values, _ in found]
            self.spans[utt] = [[UnitSpan(*span) for span in spans] for _, spans in found]
        for name in ("search_s", "align_s", "wall_s", "frames", "steps"):
            setattr(self, name, getattr(self, name) + part[name])


def search_part(
    utt_ids: list[str], log_posterior: Tensor, lengths: Tensor, search: CTCSearch
) -> dict[str, Any]:
    """Search utterances together and align what is found.

    Args:
        utt_ids: B utterances.
        log_posterior: (B, T, V).
        lengths: (B,).
        search: from posteriors to units.

    Returns:
        Values that JSON can hold: by utterance, hypotheses with their spans; counts; seconds.
    """
    log_posterior[0, 0, 0].item()  # what the device still has to do is not search
    start = time.perf_counter()
    result = search(log_posterior, lengths)
    searched = time.perf_counter()
    found = {
        utt: [
            (astuple(hyp), [astuple(span) for span in _align(row[:length], hyp, search)])
            for hyp in hypotheses
        ]
        for utt, hypotheses, row, length in zip(
            utt_ids, result.nbest, log_posterior, lengths.tolist(), strict=True
        )
    }
    return {
        "found": found,
        "frames": sum(lengths.tolist()),
        "steps": sum(result.num_steps),
        "search_s": searched - start,
        "align_s": time.perf_counter() - searched,
    }


def _align(log_posterior: Tensor, hypothesis: Hypothesis, search: CTCSearch) -> list[UnitSpan]:
    return align_units(log_posterior, hypothesis.unit_ids, blank_id=search.blank_id)[0]


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


def decode(
    acoustic: CTCAcoustic, batches: AudioBatches, search: CTCSearch, *, kept: KeptParts
) -> Decoded:
    """Decode all batches.

    Args:
        acoustic: the model.
        batches: the audio.
        search: from posteriors to units.
        kept: what an earlier run has found, and where this one keeps what it finds.
    """
    decoded = Decoded(batches.utt_ids)
    for part in kept.parts:
        decoded.add(part)
    # Parts are whole batches, so those that are left are the same as in a run that was not stopped.
    batches.leave_out(decoded.nbest)
    shown = track(batches, len(batches), "decode", units="batches")
    start = time.perf_counter()
    for utt_ids, log_posterior, lengths in posteriors(acoustic, shown):
        part = search_part(utt_ids, log_posterior, lengths, search)
        start, before = time.perf_counter(), start
        part["wall_s"] = start - before
        kept.add(part)
        decoded.add(part)
    return decoded
