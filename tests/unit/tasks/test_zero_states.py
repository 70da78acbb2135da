"""Optimizer states that DeepSpeed divided: as many processes resume from them, and no others."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from espnet_psslm.bin import asr_train
from espnet_psslm.tasks.zero import Saved
from espnet_psslm.tasks.zero_states import saved_epoch
from tests.ctc_setting import Setting
from tests.helpers import run_and_fail

EPOCH = 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What two processes left after the second epoch."""
    torch.save({"reporter": {"epoch": EPOCH}}, tmp_path / "checkpoint.pth")
    states = tmp_path / f"zero/{EPOCH}"
    states.mkdir(parents=True)
    for rank in (0, 1):
        (states / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
    return tmp_path


class Engine:
    """DeepSpeed's engine as far as loading goes."""

    def __init__(self) -> None:
        self.module = nn.Linear(1, 1)
        self.loaded: list[str] = []

    def load_checkpoint(self, folder: str, tag: str) -> tuple[str | None, dict]:
        self.loaded.append(f"{folder}/{tag}")
        return (self.loaded[-1] if Path(self.loaded[-1]).is_dir() else None), {}


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, *, num_processes: int) -> list[str]:
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: num_processes)
    engine = Engine()
    Saved(engine, folder).load()
    return engine.loaded


def test_as_many_processes_go_on(folder, monkeypatch):
    assert load(folder, monkeypatch, num_processes=2) == [str(folder / "zero/2")]


@pytest.mark.parametrize("num_processes", [3, 4])
def test_others_are_refused_in_one_line(folder, monkeypatch, num_processes):
    with pytest.raises(ValueError, match="2 processes with DeepSpeed") as error:
        load(folder, monkeypatch, num_processes=num_processes)
    assert f"cannot be resumed in {num_processes} processes: start 2" in str(error.value)
    assert f"--init_param {folder}/2epoch.pth" in str(error.value)
    assert "\n" not in str(error.value)


def test_training_without_deepspeed_does_not_drop_them(folder, capsys, tmp_path_factory):
    setting = Setting(tmp_path_factory.mktemp("ctc"))
    line = run_and_fail(asr_train.main, [*setting.command(folder), "--ngpu", "0"], capsys)
    assert "2 processes with DeepSpeed" in line and "in one process, or without DeepSpeed" in line


def test_nothing_to_go_on_from(tmp_path, monkeypatch):
    assert load(tmp_path, monkeypatch, num_processes=2) == []
    assert saved_epoch(tmp_path, num_processes=0) is None


def test_states_that_are_missing_are_named(tmp_path, monkeypatch):
    torch.save({"reporter": {"epoch": EPOCH}}, tmp_path / "checkpoint.pth")
    with pytest.raises(ValueError, match="zero/2 lacks the optimizer's states of epoch 2"):
        load(tmp_path, monkeypatch, num_processes=2)


def test_batch_of_one_for_two_processes_is_one_line(tmp_path, monkeypatch):
    """Else one of them would have nothing: ESPnet gives every process a part of each batch."""
    task = asr_train.WhisperCTCTask
    setting = Setting(tmp_path)
    command = setting.command(tmp_path / "exp", batch_type="unsorted", batch_size=1)
    options = task.build_iter_options(
        task.get_parser().parse_args(command), SimpleNamespace(distributed=True), "train"
    )
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    with pytest.raises(ValueError, match=r"train data: .* 1 < 2: set a larger batch_size") as error:
        task.build_sequence_iter_factory(task.get_parser().parse_args(command), options, "train")
    assert "\n" not in str(error.value)
