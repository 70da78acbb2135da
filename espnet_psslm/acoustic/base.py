"""What every acoustic model is: waveforms in; encoder outputs, CTC posteriors and Steps out.

A model of another kind is a class in a file of its own, and a line in ``acoustic/models.py``.

Legend: B batch, N samples, T frames, V units, D encoder width.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from espnet_psslm.acoustic.log_mel import HOP
from espnet_psslm.acoustic.long_audio import OVERLAP_S, SEARCH_S, join_windows, window_starts
from espnet_psslm.bridge.phone_sync import Reduction
from espnet_psslm.bridge.steps import PosteriorSteps, Steps, join_stretches, join_utterances
from espnet_psslm.common.audio import SAMPLE_RATE


@dataclass(frozen=True, eq=False)
class Heard:
    """What an acoustic model made of a batch of waveforms.

    Args:
        steps: with their frame spans.
        blank: (B, T), probability of the blank in each frame; None: there is no CTC layer.
        lengths: (B,), frames.
    """

    steps: Steps
    blank: Tensor | None
    lengths: Tensor


class AcousticModel(nn.Module, ABC):
    """Frozen, and always in evaluation mode.

    ``token_list`` holds the V units, the blank with them; without a CTC layer there are none, and
    no posterior. ``max_duration_s`` is what is encoded at once.
    """

    token_list: Sequence[str] = ()
    blank_id: int
    feature_width: int
    frame_shift_s: float
    max_duration_s: float

    @classmethod
    @abstractmethod
    def load(cls, **options: Any) -> Self:
        """Build a model from a configuration's ``acoustic_conf``, whose options are parameters."""

    @abstractmethod
    def encode_frames(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``encode`` of utterances that have a feature frame and are not too long."""

    def classify(self, features: Tensor) -> Tensor:
        """Encoder outputs (B, T, D) to log posteriors (B, T, V), float32."""
        raise NotImplementedError(f"{type(self).__name__} has no CTC layer")

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: this model is used, not trained."""
        return super().train(False)

    @property
    def has_ctc(self) -> bool:
        """Whether there are posteriors."""
        return len(self.token_list) > 0

    @property
    def num_units(self) -> int:
        """V; 0 without a CTC layer."""
        return len(self.token_list)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def is_long(self, num_samples: int) -> bool:
        """Whether a waveform is longer than what is encoded at once."""
        return num_samples > self.max_duration_s * SAMPLE_RATE

    @torch.no_grad()
    def encode(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder outputs of a batch.

        Args:
            speech: (B, N), 16 kHz, in [-1, 1].
            speech_lengths: (B,), samples.

        Returns:
            outputs (B, T, D) and lengths (B,) in frames of ``frame_shift_s``. An utterance
            shorter than one feature frame (10 ms) has length 0.

        Raises:
            ValueError: if an utterance is longer than ``max_duration_s``.
        """
        if self.is_long(longest := int(speech_lengths.max())):
            raise ValueError(
                f"an utterance of {longest / SAMPLE_RATE:.1f} s is longer than the "
                f"{self.max_duration_s:.0f} s that the acoustic model takes at once; cut it, or "
                "drop such in stage 4 (--max_duration_s)"
            )
        # Features of nothing do not exist: what has no frame gets one, whose outputs do not count.
        speech = F.pad(speech, (0, max(HOP - speech.shape[1], 0)))
        encoded, lengths = self.encode_frames(speech, speech_lengths.clamp_min(HOP))
        return encoded, lengths.masked_fill((speech_lengths < HOP).to(lengths.device), 0)

    @torch.no_grad()
    def log_posterior(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """CTC posteriors of a batch, float32 (B, T, V), and lengths (B,); see ``encode``.

        What is longer than ``max_duration_s`` is heard in overlapping windows, which are joined.
        """
        if not self.is_long(int(speech_lengths.max())):
            features, lengths = self.encode(speech, speech_lengths)
            return self.classify(features), lengths
        rows = []
        for row, size in zip(speech, speech_lengths.tolist(), strict=True):
            stretches = self._stretches(row[:size], at_once=len(speech))
            rows.append(torch.cat([log_posterior for _, _, log_posterior in stretches]))
        lengths = torch.tensor([len(row) for row in rows], device=speech_lengths.device)
        filler = -math.log(self.num_units)
        return pad_sequence(rows, batch_first=True, padding_value=filler), lengths

    def to_steps(
        self, speech: Tensor, speech_lengths: Tensor, reduction: Reduction, *, kind: type[Steps]
    ) -> Steps:
        """The Steps of a batch; see ``hear``."""
        return self.hear(speech, speech_lengths, reduction, kind=kind).steps

    @torch.no_grad()
    def hear(
        self, speech: Tensor, speech_lengths: Tensor, reduction: Reduction, *, kind: type[Steps]
    ) -> Heard:
        """The Steps of a batch, and where it was silent.

        Encoder outputs do not say whether anything was heard, the posterior does: where blank is
        the best unit of every frame, there are no steps of them. What is longer than
        ``max_duration_s`` is heard in overlapping windows; a run of one unit ends where two are
        joined.

        Args:
            speech: (B, N), 16 kHz, in [-1, 1].
            speech_lengths: (B,), samples.
            reduction: from frames to steps.
            kind: reduced posteriors, or reduced encoder outputs.

        Raises:
            ValueError: if an utterance is longer than ``max_duration_s`` and there is no CTC layer.
        """
        if not self.is_long(int(speech_lengths.max())) or not self.has_ctc:
            features, lengths = self.encode(speech, speech_lengths)
            log_posterior = self.classify(features) if self.has_ctc else None
            return _reduced(features, log_posterior, lengths, reduction, kind=kind)
        parts = [
            self._hear_alone(row[:size], reduction, kind=kind)
            for row, size in zip(speech, speech_lengths.tolist(), strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        steps = join_utterances([part.steps for part in parts]).to(speech.device)
        blank = pad_sequence([part.blank[0] for part in parts], batch_first=True)
        return Heard(steps, blank, torch.cat([part.lengths for part in parts]))

    def _hear_alone(self, speech: Tensor, reduction: Reduction, *, kind: type[Steps]) -> Heard:
        """One waveform (N,), maybe a long one."""
        parts, first_frames = [], []
        for first, features, log_posterior in self._stretches(speech, at_once=1):
            size = torch.tensor([len(features)], device=speech.device)
            first_frames.append(first)
            parts.append(_reduced(features[None], log_posterior[None], size, reduction, kind=kind))
        return Heard(
            join_stretches([part.steps for part in parts], first_frames),
            torch.cat([part.blank for part in parts], 1),
            sum(part.lengths for part in parts),
        )

    def _stretches(self, speech: Tensor, *, at_once: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Encoder outputs and log posteriors of a waveform (N,), from seam to seam of its windows.

        Yields:
            First frame, (t, D), (t, V).
        """
        frame = round(self.frame_shift_s * SAMPLE_RATE)  # samples
        window = int(self.max_duration_s * SAMPLE_RATE) // frame
        overlap = min(round(OVERLAP_S / self.frame_shift_s), window // 4)
        starts = [0]
        if self.is_long(len(speech)):
            starts = window_starts(-(-len(speech) // frame), window=window, overlap=overlap)
        pieces = [speech[first * frame : (first + window) * frame] for first in starts]
        if len(pieces) == 1:
            pieces = [speech]
        yield from join_windows(
            self._windows(pieces, at_once=at_once),
            starts,
            search=min(round(SEARCH_S / self.frame_shift_s), overlap // 3),
            blank_id=self.blank_id,
        )

    def _windows(
        self, pieces: Sequence[Tensor], *, at_once: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Encoder outputs (t, D) and log posteriors (t, V) of waveforms, one by one."""
        for place in range(0, len(pieces), at_once):
            batch = pieces[place : place + at_once]
            sizes = torch.tensor([len(piece) for piece in batch], device=batch[0].device)
            features, lengths = self.encode(pad_sequence(batch, batch_first=True), sizes)
            rows = zip(features, self.classify(features), lengths.tolist(), strict=True)
            yield from ((encoded[:n], log_posterior[:n]) for encoded, log_posterior, n in rows)


def _reduced(
    features: Tensor,
    log_posterior: Tensor | None,
    lengths: Tensor,
    reduction: Reduction,
    *,
    kind: type[Steps],
) -> Heard:
    """Reduce frames (B, T, D) with their posteriors (B, T, V)."""
    if log_posterior is None:
        return Heard(reduction.reduce_features(features, lengths), None, lengths)
    blank = log_posterior[..., reduction.blank_id].exp()
    if kind is PosteriorSteps:
        return Heard(reduction.from_logits(log_posterior, lengths), blank, lengths)
    steps = reduction.reduce_features(features, lengths, log_posterior.exp())
    if reduction.needs_posterior:
        valid = torch.arange(blank.shape[1], device=lengths.device) < lengths[:, None]
        spoken = ((log_posterior.argmax(2) != reduction.blank_id) & valid).any(1)
        steps = replace(steps, lengths=steps.lengths * spoken)
    return Heard(steps, blank, lengths)
