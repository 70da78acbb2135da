"""CTC loss for vocabularies of 150,000 units and more: one dense gradient, nothing else so wide.

A transcript has few different units. The loss needs, per frame, the logits of those units and of
the blank, and the normaliser over all units:

    log p(k | t) = z[t, k] - logsumexp_v z[t, v]

torch's CTC then runs on the gathered columns, with the units renumbered; it returns the loss and
the occupation gamma[t, k] of each column. The gradient of the logits is

    d loss / d z[t, v] = softmax(z[t])[v] - gamma[t, v]          (Graves et al., ICML 2006, Eq. 16)

with gamma 0 for all units that were not gathered. It is written once, a few rows at a time.
ESPnet's CTC makes (T, B, V) tensors for the log softmax, for its gradient and in between.

Legend: B batch, T frames, V units, U units of the longest transcript, C = 1 + U gathered columns.
"""

import torch
import torch.nn.functional as F
from espnet2.asr.espnet_model import ESPnetASRModel
from torch import Tensor, nn

from espnet_psslm.device import place_for

CHUNK_NUMBERS = 1 << 20  # numbers held at once beside logits and gradient, at least one row of V


def gathered_ctc_loss(
    logits: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, *, blank_id: int
) -> Tensor:
    """CTC loss of each utterance, 0 (with no gradient) where the units do not fit in the frames.

    Equals ``torch.nn.functional.ctc_loss`` of the log softmax, with ``zero_infinity``.

    Args:
        logits: (B, T, V), any floating dtype; sums are made in float32, or in float64 of float64.
        lengths: (B,), frames; what is behind does not matter.
        targets: (B, U), unit ids, none the blank; what is behind an end does not matter.
        target_lengths: (B,), units; may be 0.
        blank_id: the CTC blank.

    Returns:
        (B,), float32 or float64.
    """
    inside = torch.arange(targets.shape[1], device=targets.device) < target_lengths[:, None]
    targets = targets.masked_fill(~inside, blank_id)
    return _GatheredCTC.apply(logits, lengths, targets, target_lengths, blank_id)


class _GatheredCTC(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        logits: Tensor,
        lengths: Tensor,
        targets: Tensor,
        target_lengths: Tensor,
        blank_id: int,
    ) -> Tensor:
        columns = F.pad(targets, (1, 0), value=blank_id)  # (B, C)
        # A unit's first place in the transcript stands for all: repeats must look alike to CTC.
        first = (columns[:, :, None] == columns[:, None, :]).int().argmax(2)  # (B, C)
        wide = torch.promote_types(logits.dtype, torch.float32)
        normaliser = _row_logsumexp(logits, wide)  # (B, T)
        picked = logits.gather(2, columns[:, None].expand(-1, logits.shape[1], -1)).to(wide)
        log_probs = picked - normaliser[..., None]  # (B, T, C)
        place = place_for("ctc_loss", logits.device)
        with torch.enable_grad():
            leaf = log_probs.detach().to(place).requires_grad_()
            loss = F.ctc_loss(
                leaf.transpose(0, 1),
                first[:, 1:].to(place),
                lengths.to(place),
                target_lengths.to(place),
                blank=0,
                reduction="none",
                zero_infinity=True,
            )
            # torch returns the gradient of what stands before the log softmax: p - gamma.
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        loss, gradient = loss.detach().to(logits.device), gradient.to(logits.device)
        occupation = log_probs.exp() - gradient
        ctx.save_for_backward(logits, normaliser, columns, occupation, lengths, loss)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad_loss: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        logits, normaliser, columns, occupation, lengths, loss = ctx.saved_tensors
        num_frames = logits.shape[1]
        valid = torch.arange(num_frames, device=lengths.device) < lengths[:, None]
        # No path: torch set the loss to zero. A loss of exactly 0 has no gradient either.
        weight = (grad_loss * (loss != 0)).to(normaliser.dtype)[:, None] * valid  # (B, T)
        gradient = torch.empty_like(logits)
        rows = zip(_row_chunks(gradient), _row_chunks(logits), strict=True)
        start = 0
        flat_normaliser, flat_weight = normaliser.reshape(-1, 1), weight.reshape(-1, 1)
        for written, read in rows:
            part = slice(start, start := start + len(read))
            numbers = (read.to(normaliser.dtype) - flat_normaliser[part]).exp_()
            written.copy_(numbers.mul_(flat_weight[part]))
        # Columns of padding name the blank and repeats a unit again, all with occupation 0.
        index = columns[:, None].expand(-1, num_frames, -1)
        occupation = occupation.masked_fill((weight == 0)[..., None], 0.0)
        taken = (occupation * -weight[..., None]).to(gradient.dtype)
        gradient.scatter_add_(2, index, taken)
        return gradient, None, None, None, None


def _row_chunks(tensor: Tensor) -> tuple[Tensor, ...]:
    """Rows (B * T, V) in chunks of about ``CHUNK_NUMBERS``; views."""
    rows = tensor.view(-1, tensor.shape[-1])
    return rows.split(max(CHUNK_NUMBERS // rows.shape[1], 1))


def _row_logsumexp(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, T, V) to (B, T); torch's own makes one more (B, T, V) on the way."""
    parts = [chunk.to(dtype).logsumexp(1) for chunk in _row_chunks(logits)]
    return torch.cat(parts).view(logits.shape[:2])


class PlacedCTCLoss(nn.CTCLoss):
    """torch's CTC loss, on the host where the device has none."""

    def forward(
        self, log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor
    ) -> Tensor:
        place = place_for("ctc_loss", log_probs.device)
        given = (log_probs, targets, input_lengths, target_lengths)
        return super().forward(*(tensor.to(place) for tensor in given)).to(log_probs.device)


class GatheredCTCModel(ESPnetASRModel):
    """ESPnet model ``gathered_ctc``: the ASR model with the loss above, for large vocabularies.

    Same parameters, same loss, same decoding as ESPnet's with ``ctc_weight: 1.0``.
    """

    def _calc_ctc_loss(
        self,
        encoder_out: Tensor,
        encoder_out_lens: Tensor,
        ys_pad: Tensor,
        ys_pad_lens: Tensor,
    ) -> tuple[Tensor, float | None]:
        hidden = F.dropout(encoder_out, p=self.ctc.dropout_rate, training=self.training)
        losses = gathered_ctc_loss(
            self.ctc.ctc_lo(hidden),
            encoder_out_lens,
            ys_pad,
            ys_pad_lens,
            blank_id=self.blank_id,
        )
        cer = None
        if not self.training and self.error_calculator is not None:
            best = self.ctc.argmax(encoder_out)
            cer = self.error_calculator(best.cpu(), ys_pad.cpu(), is_ctc=True)
        return losses.mean(), cer
