"""The loss of large vocabularies against torch's CTC of the dense log softmax, float64."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from espnet_psslm.acoustic import gathered_ctc
from espnet_psslm.acoustic.gathered_ctc import gathered_ctc_loss

V, T = 23, 12
# Plain, repeated neighbours, a repeat further away, one unit, none, does not fit, exactly fits.
TARGETS = [[3, 9, 22], [5, 5, 7, 7], [4, 8, 4, 8, 4], [1], [], [2, 2, 2, 2], [6, 6, 9]]
LENGTHS = [12, 12, 9, 1, 5, 6, 4]


def batch(blank_id: int = 0):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(len(TARGETS), T, V, generator=generator, dtype=torch.float64)
    targets = torch.full((len(TARGETS), 5), -1)  # ESPnet pads with -1
    for row, units in zip(targets, TARGETS, strict=True):
        row[: len(units)] = torch.tensor([0 if u == blank_id else u for u in units])
    return logits, torch.tensor(LENGTHS), targets, torch.tensor([len(u) for u in TARGETS])


def reference(logits, lengths, targets, target_lengths, *, blank_id):
    flat = torch.cat([row[:n] for row, n in zip(targets, target_lengths.tolist(), strict=True)])
    return F.ctc_loss(
        logits.log_softmax(2).transpose(0, 1), flat, lengths, target_lengths,
        blank=blank_id, reduction="none", zero_infinity=True,
    )  # fmt: skip


@pytest.mark.parametrize("blank_id", [0, 22])
@pytest.mark.parametrize("chunk", [1, 3 * V, 1 << 20])
def test_values_and_gradients(blank_id, chunk, monkeypatch):
    monkeypatch.setattr(gathered_ctc, "CHUNK_NUMBERS", chunk)
    logits, *rest = batch(blank_id)
    weights = torch.linspace(0.5, 2.0, len(TARGETS), dtype=torch.float64)
    results = []
    for loss_of in (gathered_ctc_loss, reference):
        leaf = logits.clone().requires_grad_()
        losses = loss_of(leaf, *rest, blank_id=blank_id)
        (losses * weights).sum().backward()
        results.append((losses.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1], atol=1e-12, rtol=1e-12)
    losses, gradient = results[0]
    assert losses[5] == 0 and not gradient[5].any()  # seven frames are needed, six are there
    assert losses[6] > 0 and losses[4] > 0
    assert all(not gradient[n, length:].any() for n, length in enumerate(LENGTHS))


def test_gradient_is_that_of_finite_differences():
    logits, lengths, targets, target_lengths = (part[:3] for part in batch())
    leaf = logits[:, :9, :10].clone().requires_grad_()
    targets = targets.clamp_max(9)

    def loss(values):
        return gathered_ctc_loss(values, lengths.clamp_max(9), targets, target_lengths, blank_id=0)

    assert torch.autograd.gradcheck(loss, (leaf,))


def test_padding_and_batch_do_not_matter():
    logits, lengths, targets, target_lengths = batch()
    losses = gathered_ctc_loss(logits, lengths, targets, target_lengths, blank_id=0)
    for n, (length, units) in enumerate(zip(LENGTHS, TARGETS, strict=True)):
        alone = gathered_ctc_loss(
            logits[n : n + 1, :length], lengths[n : n + 1],
            torch.tensor([units], dtype=torch.long), target_lengths[n : n + 1], blank_id=0,
        )  # fmt: skip
        torch.testing.assert_close(alone[0], losses[n])
    other = gathered_ctc_loss(
        logits.masked_fill(torch.arange(T)[:, None] >= lengths[:, None, None], 1e3),
        lengths, targets, target_lengths, blank_id=0,
    )  # fmt: skip
    torch.testing.assert_close(other, losses)


def test_half_precision_logits():
    logits, *rest = batch()
    wanted = gathered_ctc_loss(logits.bfloat16().double(), *rest, blank_id=0)
    leaf = logits.bfloat16().requires_grad_()
    losses = gathered_ctc_loss(leaf, *rest, blank_id=0)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), wanted, atol=1e-4, rtol=1e-5)
    losses.sum().backward()
    assert leaf.grad.dtype == torch.bfloat16 and leaf.grad.isfinite().all()


class CountStorages(TorchDispatchMode):
    """Memory of each size that operations ask for: views and in-place results ask for none."""

    def __init__(self, at_least: int) -> None:
        super().__init__()
        self.at_least, self.seen, self.kept = at_least, [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = {t.untyped_storage().data_ptr() for t in args if isinstance(t, torch.Tensor)}
        known |= {t.untyped_storage().data_ptr() for t in self.kept}
        result = func(*args, **(kwargs or {}))
        for out in result if isinstance(result, tuple | list) else [result]:
            if not isinstance(out, torch.Tensor) or out.untyped_storage().data_ptr() in known:
                continue
            if out.untyped_storage().nbytes() >= self.at_least * out.element_size():
                self.seen.append(str(func))
                self.kept.append(out)  # else its address may come again
        return result


@pytest.mark.parametrize(("loss_of", "num_wide"), [(gathered_ctc_loss, 1), (reference, 3)])
def test_one_dense_gradient_and_no_other_wide_tensor(loss_of, num_wide, monkeypatch):
    """The reference makes log softmax, its gradient and the logits' gradient, at least."""
    monkeypatch.setattr(gathered_ctc, "CHUNK_NUMBERS", 100)
    logits, *rest = batch()
    leaf = logits.requires_grad_()
    with CountStorages(at_least=logits.numel() // 2) as counted:
        loss_of(leaf, *rest, blank_id=0).sum().backward()
    assert len(counted.seen) >= num_wide
    if loss_of is gathered_ctc_loss:
        assert counted.seen == ["aten.empty_like.default"]
