"""What a packed model is trained on with, and how long."""

import pytest

from espnet_psslm.recipe.adaptation.train import EPOCHS, mixed_rows, schedule, training_config

PACKED = {
    "token_list": ["<blank>", "<unk>", "a", "<sos/eos>"],
    "prompt_file": "old.jsonl",
    "tuning": "frozen",
    "projector": "linear-silu",
    "lr_scale": {"projector.": 0.5},
    "max_epoch": 70,
    "train_data_path_and_name_and_type": [["gone", "sample", "psslm_jsonl"]],
}


def test_the_model_stays_what_it_is_and_the_training_does_not(tmp_path):
    config = training_config(PACKED, prompt_file=tmp_path / "new.jsonl", tuning=None)
    assert config["prompt_file"] == str(tmp_path / "new.jsonl")
    assert config["projector"] == "linear-silu" and config["tuning"] == "frozen"
    assert config["lr_scale"] == {"projector.": 0.5}
    assert config["source"] == "no_audio" and "max_epoch" not in config
    assert "train_data_path_and_name_and_type" not in config


def test_a_frozen_model_may_get_adapters_and_a_tuned_one_no_others(tmp_path):
    config = training_config(PACKED, prompt_file=tmp_path, tuning="lora")
    assert config["tuning"] == "lora" and config["tuning_conf"]["r"] == 16
    tuned = PACKED | {"tuning": "prefix"}
    assert training_config(tuned, prompt_file=tmp_path, tuning="prefix")["tuning"] == "prefix"
    with pytest.raises(ValueError, match="has tuning: prefix already"):
        training_config(tuned, prompt_file=tmp_path, tuning="lora")
    with pytest.raises(ValueError, match="needs audio"):
        training_config(PACKED | {"step_kind": "feature"}, prompt_file=tmp_path, tuning=None)


def test_new_and_old_rows_come_as_often():
    new = [{"key": f"new{i}"} for i in range(3)]
    old = [{"key": f"old{i}"} for i in range(7)]
    for one, other in ((new, old), (old, new)):
        rows = mixed_rows(one, other)
        assert len(rows) == 14 and len({row["key"] for row in rows}) == 14
        assert sum(row["key"].startswith("new") for row in rows) == 7
        assert {row["key"][:4] for row in rows} == {row["key"] for row in [*new, *old]}
    assert mixed_rows(new, []) == new


def test_the_schedule_ends_with_training():
    found = schedule(100)
    assert found["max_epoch"] * found["num_iters_per_epoch"] == 102
    assert found["scheduler_conf"]["max_steps"] == 102
    assert schedule(EPOCHS)["num_iters_per_epoch"] == 1
