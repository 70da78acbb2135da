"""What chooses the best checkpoint: token accuracy on real and on simulated speech."""

from pathlib import Path

import pytest
import torch
import yaml

from tests.unit.tasks.test_mixture import options  # noqa: F401 (fixture)


def train(command):
    """With the task's own criterion."""
    from espnet_psslm.bin.psslm_train import main

    given = Path(command[command.index("--config") + 1])
    config = yaml.safe_load(given.read_text())
    config.pop("best_model_criterion", None)
    given.write_text(yaml.safe_dump(config))
    main(command)


def accuracies(folder):
    reporter = torch.load(folder / "exp/checkpoint.pth", weights_only=True)["reporter"]
    return {name: x for name, x in reporter["stats"][1]["valid"].items() if "acc" in name}


def test_real_and_simulated_speech_apart(options, tmp_path, caplog):  # noqa: F811
    mixed = {"valid.jsonl": "mixed.jsonl", "exp/valid.shape": "exp/train.shape"}
    both = list(options)
    for valid, other in mixed.items():
        both = [option.replace(f"/{valid}", f"/{other}") for option in both]
    caplog.set_level("INFO")
    train(both)
    assert "chosen on 3 validation samples of real speech and 8 simulated ones" in caplog.text
    found = accuracies(tmp_path)
    assert found.keys() == {"acc", "acc_real", "acc_simulated"}
    low, high = sorted((found["acc_real"], found["acc_simulated"]))
    assert low <= found["acc"] <= high
    assert (tmp_path / "exp/valid.acc.best.pth").exists()
    assert not (tmp_path / "exp/valid.loss.best.pth").exists()

    # The same training, validated on the real ones alone.
    for valid, other in mixed.items():
        lines = (tmp_path / other).read_text().splitlines(keepends=True)
        (tmp_path / valid).write_text("".join(x for x in lines if "steps-" in x))
    train([*options, "--output_dir", str(tmp_path / "real/exp")])
    alone = accuracies(tmp_path / "real")
    assert alone.keys() == {"acc", "acc_real"}
    assert alone["acc"] == pytest.approx(found["acc_real"], abs=1e-6)


def test_text_alone_chooses_blindly(options, tmp_path, caplog):  # noqa: F811
    train(options)
    said = [line for line in caplog.messages if "chosen blindly" in line]
    assert len(said) == 1 and "all 8 validation samples are simulated" in said[0]
    assert accuracies(tmp_path).keys() == {"acc", "acc_simulated"}


def test_accuracy_stops_training_too():
    from espnet_psslm.tasks.psslm import PSSLMTask

    args = PSSLMTask.get_parser().parse_args(["--output_dir", "x"])
    assert args.early_stopping_criterion == ("valid", "acc", "max")
    assert args.best_model_criterion == [("valid", "acc", "max")]
