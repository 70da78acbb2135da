"""The recipe's configurations agree with each other and with run.sh."""

import re
from pathlib import Path

import pytest
import yaml

RECIPE = Path(__file__).resolve().parents[3] / "egs2/mini/psslm1"
SHARED = ("llm_conf", "prompt_conf", "projector", "projector_conf", "reduction", "reduction_conf")
SHARED += ("tuning", "tuning_conf")


def read(name):
    return yaml.safe_load((RECIPE / f"conf/{name}.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def options():
    """What run.sh passes to psslm.sh."""
    text = (RECIPE / "run.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    return dict(re.findall(r"--(\w+) ([\w./:-]+)", text[text.index("exec ../../TEMPLATE") :]))


@pytest.mark.parametrize("name", SHARED)
def test_fine_tuning_builds_the_text_only_model(name):
    assert read("tune_psslm")[name] == read("train_psslm")[name]


def test_units_are_tokens_of_the_same_language_model(options):
    assert options["unit_source"] == read("train_psslm")["llm_conf"]["name"]


@pytest.mark.parametrize("name", ["train_ctc", "train_psslm", "tune_psslm"])
def test_schedules_end_with_the_training(name):
    conf = read(name)
    assert conf["scheduler_conf"]["max_steps"] == conf["max_epoch"] * conf["num_iters_per_epoch"]


def test_fine_tuning_hears_every_utterance():
    tune = read("tune_psslm")
    batches = -(-3 * 200 // tune["batch_size"])  # three tasks of 200 utterances
    assert tune["num_iters_per_epoch"] >= batches


def test_entities_are_one_task_more():
    text = (RECIPE / "run.sh").read_text(encoding="utf-8")
    found = re.findall(r"--num_iters_per_epoch (\d+) --scheduler_conf max_steps=(\d+)", text)
    (batches, until), (tune_batches, tune_until) = [map(int, pair) for pair in found]
    assert batches == until >= read("train_psslm")["num_iters_per_epoch"] * 4 / 3
    assert tune_batches == tune_until == 2 * -(-4 * 200 // read("tune_psslm")["batch_size"])
