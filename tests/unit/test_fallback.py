"""What a device lacks is done on the host, with the same result.

There is no such device here: the host is said to lack the operations, and the host's place is
taken by the meta device or by a spy, which shows that tensors go there and come back.
"""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from espnet_psslm import device
from espnet_psslm.acoustic.gathered_ctc import PlacedCTCLoss, gathered_ctc_loss
from espnet_psslm.acoustic.log_mel import LogMel
from espnet_psslm.device import place_for


@pytest.fixture
def moves(monkeypatch):
    """Devices that tensors are sent to, where this one lacks everything."""
    seen = []
    monkeypatch.setattr(device, "LACKING", {"cpu": {"ctc_loss", "stft"}})
    monkeypatch.setattr(device, "HOST", torch.device("cpu", 0))
    real = torch.Tensor.to

    def to(tensor, *args, **options):
        seen.extend(arg for arg in args if isinstance(arg, torch.device))
        return real(tensor, *args, **options)

    monkeypatch.setattr(torch.Tensor, "to", to)
    return seen


def test_where_operations_go(monkeypatch):
    npu = torch.device("privateuseone")
    monkeypatch.setattr(device, "LACKING", {npu.type: device.LACKING["npu"]})
    assert place_for("ctc_loss", npu) == place_for("stft", npu) == torch.device("cpu")
    assert place_for("matmul", npu) == npu
    for kind in ("cpu", "cuda"):
        assert place_for("ctc_loss", torch.device(kind, 1)) == torch.device(kind, 1)


def test_spectrum(moves):
    speech = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([3000, 1700])
    there, _ = LogMel()(speech, lengths)
    assert moves.count(torch.device("cpu", 0)) == 2  # signal and window
    device.LACKING.clear()
    here, _ = LogMel()(speech, lengths)
    assert torch.equal(there, here)


def ctc_inputs():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 9, 6, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.tensor([[1, 2, 2], [3, 1, 0], [5, 0, 0]])
    return logits, torch.tensor([9, 7, 5]), targets, torch.tensor([3, 2, 1])


def torch_ctc(logits, lengths, targets, target_lengths):
    rows = logits.log_softmax(2).transpose(0, 1)
    return F.ctc_loss(rows, targets, lengths, target_lengths, reduction="none", zero_infinity=True)


def placed_ctc(logits, lengths, targets, target_lengths):
    rows = logits.log_softmax(2).transpose(0, 1)
    return PlacedCTCLoss(reduction="none", zero_infinity=True)(
        rows, targets, lengths, target_lengths
    )


def gathered_ctc(logits, lengths, targets, target_lengths):
    return gathered_ctc_loss(logits, lengths, targets, target_lengths, blank_id=0)


@pytest.mark.parametrize("ours", [placed_ctc, gathered_ctc])
def test_ctc_loss_and_gradient(moves, ours):
    results = []
    for loss_of in (torch_ctc, ours):
        logits, *rest = ctc_inputs()
        loss = loss_of(logits, *rest)
        (loss * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
        results.append((loss.detach(), logits.grad))
    assert moves.count(torch.device("cpu", 0)) == 4
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_whisper_ctc_uses_the_placed_loss(root):
    text = (root / "espnet_psslm/tasks/whisper_ctc.py").read_text()
    assert "model.ctc.ctc_loss = PlacedCTCLoss(" in text


@pytest.mark.parametrize("module", ["espnet_psslm.tasks", "espnet_psslm.registry"])
def test_trainer_is_prepared_before_it_is_imported(tmp_path, root, module):
    """With torch_npu on the path, which redirects what the trainer looks up while imported."""
    contrib = tmp_path / "torch_npu/contrib"
    contrib.mkdir(parents=True)
    (contrib / "__init__.py").touch()
    (contrib.parent / "__init__.py").write_text(
        "import types, torch\ntorch.npu = types.SimpleNamespace(is_available=lambda: True)\n"
    )
    (contrib / "transfer_to_npu.py").write_text(
        "import sys\nassert not any(name.startswith('espnet2') for name in sys.modules)\n"
    )
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(root)!r}]\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.startswith('espnet2'):\n"
        "            assert 'torch_npu.contrib.transfer_to_npu' in sys.modules\n"
        "            raise SystemExit(7)\n"
        "sys.meta_path.insert(0, Stop())\n"
        f"import {module} as m\n"
        "assert 'torch_npu.contrib.transfer_to_npu' in sys.modules or m.register()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode in (0, 7), done.stderr
    assert (done.returncode == 7) == (module == "espnet_psslm.registry")
