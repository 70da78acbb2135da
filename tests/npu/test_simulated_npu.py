"""The simulated NPU refuses what an NPU refuses, computes as the CPU does, and stands for CUDA."""

import json

import pytest


@pytest.fixture(scope="module")
def proof(machine):
    return json.loads(machine.run("-m", "tests.npu.proof").splitlines()[-1])


@pytest.mark.parametrize("name", ["mixed", "mixed_write"])
def test_devices_do_not_mix(proof, name):
    assert "Expected all tensors to be on the same device" in proof[name]


def test_single_numbers_and_indices_may_come_from_the_cpu(proof):
    assert proof["single_number"] == [2.0, 2.0, 2.0]
    assert proof["cpu_index"] == [1.0, 1.0]


def test_memory_of_the_device_is_not_the_hosts(proof):
    assert "can't convert npu" in proof["numpy"]


def test_from_speech_to_updated_weights_on_the_device(proof):
    assert proof["elsewhere"] == []
    assert max(proof["difference"].values()) < 1e-5, proof["difference"]
    assert {"features", "ctc", "loss", "grad output.weight"} <= proof["difference"].keys()
    assert proof["num_calls"] > 500


def test_auto_prefers_it(proof):
    assert proof["auto"] == "npu"
    assert proof["native_bfloat16"]


def test_cuda_means_the_npu_once_redirected(proof):
    assert proof["before"]  # nothing stands for CUDA by itself
    assert proof["after"] == ["npu:0"] * 5
    assert proof["autocast"] == "torch.bfloat16"
    assert proof["backend"] == "hccl"


def test_models_are_built_without_memory_once_redirected(proof):
    """Else from_pretrained builds real weights, and draws what later weights would get."""
    assert proof["meta"] == "meta"
