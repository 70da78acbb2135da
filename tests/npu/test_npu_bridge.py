"""The bridge on the simulated NPU: text-only training, resuming, mixed precision and answers."""

from pathlib import Path

import pytest

from tests.bridge_setting import FIRST, Bridge, check_mixed_precision, check_same_training
from tests.npu.build import LACKS

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def bridge(machine, lm_folder, units_folder, prompt_file, tmp_path_factory) -> Bridge:
    def run(module: str, *options: str) -> None:
        on_npu = options[options.index("--ngpu") + 1] == "1" if "--ngpu" in options else None
        # torch's scaler of gradients computes in float64, whatever the device.
        lacks = {"SIMULATED_NPU_LACKS": ",".join(LACKS[:2])} if "--use_amp" in options else {}
        calls = machine.command(module, *options, **lacks)
        assert on_npu is None or (calls > 100) == on_npu

    models = {"lm": lm_folder, "units": units_folder, "prompts": prompt_file}
    return Bridge(run, tmp_path_factory.mktemp("bridge"), models)


@pytest.fixture(scope="module")
def on_cpu(bridge) -> Path:
    return bridge.train("cpu", ngpu=0)


@pytest.fixture(scope="module")
def on_npu(bridge) -> Path:
    bridge.train("npu", ngpu=1, epochs=FIRST)
    return bridge.train("npu", ngpu=1)


def test_resumed_training_equals_the_cpus(on_cpu, on_npu):
    check_same_training(on_npu, on_cpu)


def test_answers_are_the_cpus(bridge, on_npu):
    assert bridge.answers(on_npu, "npu") == bridge.answers(on_npu, "cpu")


def test_mixed_precision(bridge, on_cpu):
    check_mixed_precision(bridge.train("amp", "--use_amp", "true", ngpu=1), on_cpu)
