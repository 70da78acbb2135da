"""Trainings that are stopped at bad moments, on a full disk, twice in a folder, or that diverge."""

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from espnet_psslm import checkpoint
from espnet_psslm.bin import asr_inference, asr_train, psslm_train
from espnet_psslm.common.lock import folder_lock
from tests.ctc_setting import Setting
from tests.helpers import run_and_fail
from tests.unit.tasks.test_processes import bridge_command

Train = Callable[..., None]


@pytest.fixture(scope="module")
def setting(tmp_path_factory) -> Setting:
    return Setting(tmp_path_factory.mktemp("ctc"))


@pytest.fixture(scope="module")
def trainings(setting, tmp_path_factory, lm_folder, units_folder, prompt_file):
    """By name: main function, and its command line for an output folder."""
    folder = tmp_path_factory.mktemp("bridge")
    models = {"lm": lm_folder, "units": units_folder, "prompts": prompt_file}
    bridge = bridge_command(folder, models, max_epoch=2, keep_nbest_models=2)
    bridge += ["--resume", "true", "--output_dir"]
    return {
        "ctc": (asr_train.main, setting.command),
        "bridge": (psslm_train.main, lambda exp: [*bridge, str(exp)]),
    }


@pytest.fixture(scope="module")
def straight(trainings, tmp_path_factory):
    """What each leaves that nothing stops."""
    folders = {}
    for name, (main, command) in trainings.items():
        folders[name] = tmp_path_factory.mktemp("straight") / name
        main(command(folders[name]))
    return folders


def names(exp: Path) -> dict[str, str]:
    """Files, and where links lead."""
    left = ("train.log", "images")
    return {p.name: os.readlink(p) if p.is_symlink() else "" for p in exp.iterdir()
            if p.name not in left}  # fmt: skip


def check_same(exp: Path, straight: Path) -> None:
    assert names(exp) == names(straight)
    for path in straight.glob("*.pth"):
        if path.name != "checkpoint.pth":
            ours, theirs = (torch.load(f / path.name, weights_only=True) for f in (exp, straight))
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) for key in theirs), path.name


class Stopped(BaseException):
    """As a kill would."""


def begin(main: Train, command: list[str], exp: Path) -> None:
    """Train the first epoch, as if more were still to come."""
    main([*command, "--max_epoch", "1"])
    for average in exp.glob("*.ave*.pth"):
        average.unlink()


def stop_at(patch: pytest.MonkeyPatch, owner: object, name: str, last: str) -> None:
    """Stop where a call is about a path that ends so."""
    real = getattr(owner, name)

    def call(path, *rest):
        if str(path).endswith(last):
            raise Stopped
        return real(path, *rest)

    patch.setattr(owner, name, call)


@pytest.mark.parametrize("name", ["ctc", "bridge"])
@pytest.mark.parametrize(
    ("what", "last"),
    [("atomic_file", "2epoch.pth"), ("symlink_to", "latest.pth"), ("symlink_to", "loss.best.pth")],
)
def test_stopped_behind_the_checkpoint(trainings, straight, tmp_path, name, what, last):
    main, command = trainings[name]
    exp = tmp_path / "exp"
    begin(main, command(exp), exp)
    (exp / f".checkpoint.pth.{2**22 + 1}.tmp").write_bytes(b"half")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        stop_at(patch, checkpoint if what == "atomic_file" else Path, what, last)
        main(command(exp))
    assert (exp / "checkpoint.pth").exists() and not (exp / "valid.loss.ave_2best.pth").exists()
    main(command(exp))
    check_same(exp, straight[name])


def test_a_full_disk_at_a_checkpoint(trainings, straight, tmp_path, capsys, monkeypatch):
    main, command = trainings["ctc"]
    exp = tmp_path / "exp"
    begin(main, command(exp), exp)
    before = (exp / "checkpoint.pth").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("espnet_psslm.atomic.open", full_at("checkpoint.pth"), raising=False)
        error = run_and_fail(main, command(exp), capsys)
    assert "No space left on device" in error and f"{exp}/checkpoint.pth" in error
    assert (exp / "checkpoint.pth").read_bytes() == before
    main(command(exp))
    check_same(exp, straight["ctc"])


def test_a_full_disk_before_training(trainings, straight, tmp_path, capsys, monkeypatch):
    """The configuration of the model that is there stays."""
    main, command = trainings["bridge"]
    exp = shutil.copytree(straight["bridge"], tmp_path / "exp", symlinks=True)
    before = (exp / "config.yaml").read_text()
    with monkeypatch.context() as patch:
        patch.setattr("espnet_psslm.atomic.open", full_at("config.yaml"), raising=False)
        error = run_and_fail(main, command(exp), capsys)
    assert f"No space left on device: '{exp}/config.yaml'" in error
    assert (exp / "config.yaml").read_text() == before


def test_lengths_that_are_measured_again(trainings, tmp_path, capsys, monkeypatch):
    """Stage 10: the lengths that are there stay until all others are measured."""
    main, command = trainings["bridge"]
    options = [*command(tmp_path), "--collect_stats", "true"]
    options += ["--model_conf", "extract_feats_in_collect_stats=false"]
    main(options)
    before = {path: path.read_text() for path in tmp_path.glob("*/*_shape")}
    assert len(before) == 2

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("espnet2.fileio.datadir_writer.DatadirWriter.__setitem__", full)
        assert "No space left" in run_and_fail(main, options, capsys)
    assert {path: path.read_text() for path in tmp_path.glob("*/*_shape")} == before
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def full_at(name: str) -> Callable[..., object]:
    """``open``, for a disk that has no room for a file."""

    def open_file(path, mode="r", *args, **options):
        file = open(path, mode, *args, **options)
        return Full(file) if "w" in mode and name in str(path) else file

    return open_file


class Full:
    def __init__(self, file) -> None:
        self.file = file

    def write(self, data) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def test_two_trainings_in_one_folder(trainings, tmp_path, capsys):
    main, command = trainings["ctc"]
    holder = os.fork()
    if holder == 0:
        with folder_lock(tmp_path / "exp"):
            (tmp_path / "held").touch()
            signal.pause()
    try:
        while not (tmp_path / "held").exists():
            pass
        error = run_and_fail(main, command(tmp_path / "exp"), capsys)
        assert f"{tmp_path}/exp: process {holder} on" in error
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)


def test_a_training_that_diverges(setting, tmp_path, capsys):
    exp = tmp_path / "exp"
    optimizer = {"optim": "sgd", "optim_conf": {"lr": 1e38}}
    error = run_and_fail(asr_train.main, setting.command(exp, **optimizer), capsys)
    assert "is NaN or infinite" in error and "lower the learning rate" in error
    assert not list(exp.glob("*.pth"))


def test_weights_that_are_nan_name_their_checkpoint(setting, straight, tmp_path, capsys):
    exp = shutil.copytree(straight["ctc"], tmp_path / "exp", symlinks=True)
    path = exp / "valid.loss.ave_2best.pth"
    state = torch.load(path, weights_only=True)
    state["ctc.ctc_lo.weight"][3] = float("nan")
    torch.save(state, path)
    options = [*setting.model_options(exp), "--output_dir", str(tmp_path / "out")]
    error = run_and_fail(asr_inference.main, options, capsys)
    assert f"{exp}/valid.loss.ave.pth: 1 of" in error and "NaN or infinite" in error
