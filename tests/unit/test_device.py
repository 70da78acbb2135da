import pytest
import torch

from espnet_psslm import device
from espnet_psslm.device import resolve_device, resolve_dtype


@pytest.fixture
def machine(monkeypatch):
    """Pretend to have devices: ``machine(cuda=True, npu=False)``."""

    def pretend(*, cuda, npu):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(device, "_npu_available", lambda: npu)

    return pretend


def test_auto_takes_the_fastest(machine):
    machine(cuda=False, npu=False)
    assert resolve_device() == torch.device("cpu")
    machine(cuda=True, npu=False)
    assert resolve_device("auto") == torch.device("cuda")


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "npu", "npu:0"])
def test_absent_device_is_named(machine, name):
    machine(cuda=False, npu=False)
    with pytest.raises(ValueError, match=f"--device {name}: no .*--device cpu"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cpux", "tpu:0"])
def test_unknown_device_is_named(name):
    with pytest.raises(ValueError, match=f"--device '{name}' is unknown; use auto, cpu"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cuda:x", "cuda:", "cpu:one"])
def test_malformed_number_is_named(machine, name):
    machine(cuda=True, npu=False)
    with pytest.raises(ValueError, match=f"--device '{name}'"):
        resolve_device(name)


def test_number_of_the_device(machine):
    machine(cuda=True, npu=False)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    assert resolve_device("cpu") == torch.device("cpu")


def test_dtype():
    assert resolve_dtype("float32") is torch.float32
    assert resolve_dtype("bfloat16", "cpu") is torch.bfloat16
    with pytest.raises(ValueError, match="dtype 'bf16' is unknown; use auto or one of"):
        resolve_dtype("bf16")


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_dtype_is_bfloat16_only_where_native(monkeypatch, native, dtype):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    assert resolve_dtype("auto", "cpu") is dtype


@pytest.mark.requires_cuda
def test_cuda_is_found():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    assert resolve_device("auto").type == "cuda"
