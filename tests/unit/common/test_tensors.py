"""Checkpoints: read without running what is in them, and refused where they are nonsense."""

import importlib

import pytest
import torch

from espnet_psslm.checkpoint import ESPNETS_READERS, safe_loads
from espnet_psslm.common.tensors import check_finite, load_tensors


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return open, ("ran", "w")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty; fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a git-lfs pointer.*git lfs pull"),
        (b"<html>", "is a web page"),
        (b"anything", "is no file of tensors alone"),
        (b"PK\x03\x04 and no more", "is broken"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, match):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"--psslm_model_file {path}: {match}") as error:
        load_tensors(path, option="--psslm_model_file")
    assert "\n" not in str(error.value) and "weights_only" not in str(error.value)


@pytest.mark.parametrize("reader", ESPNETS_READERS)
def test_espnets_readers_run_nothing_and_advise_nothing(tmp_path, monkeypatch, reader):
    monkeypatch.setenv("ESPNET_ALLOW_UNSAFE_TORCH_LOAD", "1")
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.ones(2), "more": Evil()}, "evil.pth")
    torch.save({"weight": torch.ones(2)}, "good.pth")
    module = importlib.import_module(reader)
    plain = module.safe_torch_load
    with safe_loads():
        assert module.safe_torch_load("good.pth", map_location="cpu")["weight"].sum() == 2
        with pytest.raises(ValueError, match="evil.pth: is no file of tensors alone") as error:
            module.safe_torch_load("evil.pth", map_location="cpu")
    assert module.safe_torch_load is plain
    assert "UNSAFE" not in str(error.value) and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_a_diverged_training(value):
    state = {"a": torch.ones(2), "ids": torch.ones(2, dtype=torch.long), "b": torch.ones(3)}
    check_finite(state, "exp/3epoch.pth", option="--asr_model_file")
    state["b"][1] = value
    match = "--asr_model_file exp/3epoch.pth: 1 of 3 weights are NaN or infinite, first b: "
    with pytest.raises(ValueError, match=match):
        check_finite(state, "exp/3epoch.pth", option="--asr_model_file")
