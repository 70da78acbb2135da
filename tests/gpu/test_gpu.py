"""An NVIDIA GPU gives what the CPU gives. ``tests/gpu.sh`` runs this, and skips nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.bridge_setting import FIRST, Bridge, check_mixed_precision, check_same_training
from tests.npu.proof import speech_to_loss

pytestmark = [pytest.mark.long, pytest.mark.requires_cuda]


@pytest.fixture(scope="module", autouse=True)
def gpu() -> str:
    """The device; where there is none, a failure if ``PSSLM_NEEDS_GPU`` is set, else a skip."""
    if not torch.cuda.is_available():
        stop = pytest.fail if os.environ.get("PSSLM_NEEDS_GPU") else pytest.skip
        stop("needs an NVIDIA GPU that torch sees")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return "cuda"


@pytest.fixture(scope="module")
def bridge(root, lm_folder, units_folder, prompt_file, tmp_path_factory) -> Bridge:
    def run(module: str, *options: str) -> None:
        command = [sys.executable, "-m", f"espnet_psslm.bin.{module}", *options]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]

    models = {"lm": lm_folder, "units": units_folder, "prompts": prompt_file}
    return Bridge(run, tmp_path_factory.mktemp("bridge"), models)


@pytest.fixture(scope="module")
def on_cpu(bridge) -> Path:
    return bridge.train("cpu", ngpu=0)


@pytest.fixture(scope="module")
def on_gpu(bridge) -> Path:
    bridge.train("gpu", ngpu=1, epochs=FIRST)
    return bridge.train("gpu", ngpu=1)


def test_from_speech_to_updated_weights(gpu):
    """Log-mel, CTC, reduction, projector, language model, gradients, one update."""
    ours, theirs = speech_to_loss(gpu), speech_to_loss("cpu")
    for name, value in ours.items():
        assert value.device.type == gpu
        torch.testing.assert_close(value.cpu(), theirs[name], rtol=1e-4, atol=1e-4, msg=name)


def test_resumed_training_equals_the_cpus(on_cpu, on_gpu):
    check_same_training(on_gpu, on_cpu)


def test_answers_are_the_cpus(bridge, on_gpu):
    assert bridge.answers(on_gpu, "cuda") == bridge.answers(on_gpu, "cpu")


def test_mixed_precision(bridge, on_cpu):
    check_mixed_precision(bridge.train("amp", "--use_amp", "true", ngpu=1), on_cpu)
