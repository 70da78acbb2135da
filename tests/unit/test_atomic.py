"""Files that are there whole or not at all."""

import os
import resource
import subprocess
from contextlib import contextmanager

import pytest
import torch

from espnet_psslm.atomic import atomic_file, atomic_text, remove_strays
from espnet_psslm.checkpoint import atomic_saves


def test_a_file_is_replaced_when_it_is_whole(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with atomic_file(target) as stream:
        stream.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_what_fails_leaves_the_old_file(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(OSError, match="full"), atomic_file(target) as stream:
        stream.write(b"half")
        raise OSError("disk full")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_bytes_are_on_disk_before_the_name(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, real=real, name=name: (order.append(name), real(*a))[1]
        )
    with atomic_file(tmp_path / "file") as stream:
        stream.write(b"new")
    assert order == ["fsync", "replace", "fsync"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "epoch").write_bytes(b"old")
    (tmp_path / "latest").symlink_to("epoch")
    with atomic_file(tmp_path / "latest") as stream:
        stream.write(b"new")
    assert (tmp_path / "latest").is_symlink()
    assert (tmp_path / "epoch").read_bytes() == b"new"


@pytest.fixture
def full_disk():
    """Within it a file may have a few bytes and no more."""

    @contextmanager
    def limited(num_bytes=1000):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path, full_disk):
    path = tmp_path / "checkpoint.pth"
    with atomic_saves():
        torch.save(torch.ones(2), path)
        with full_disk(), pytest.raises(OSError, match=f"File too large: '{path}'"):
            torch.save(torch.ones(1_000_000), path)
    with full_disk(), pytest.raises(OSError, match=f"File too large: '{path}'"):
        atomic_text(path, "x" * 10_000)
    assert torch.load(path, weights_only=True).tolist() == [1.0, 1.0]
    assert os.listdir(tmp_path) == ["checkpoint.pth"]


def test_what_killed_processes_left_is_removed(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    living = [f".{name}.{pid}.tmp" for name, pid in (("b", os.getpid()), ("c", os.getppid()))]
    for name in (f".a.{gone.pid}.tmp", f".e.{gone.pid}.tmp", *living):
        (tmp_path / name).write_text("half")
    (tmp_path / f".d.{gone.pid}.tmp").mkdir()
    (tmp_path / ".other.tmp").write_text("not ours")
    atomic_text(tmp_path / "e", "whole")
    assert not (tmp_path / f".e.{gone.pid}.tmp").exists()
    assert (tmp_path / f".a.{gone.pid}.tmp").exists()
    remove_strays(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*living, ".other.tmp", "e"])
    remove_strays(tmp_path / "absent")


class Stops:
    """Cannot be pickled to its end."""

    def __reduce__(self):
        raise KeyboardInterrupt


def test_saving_that_is_stopped_leaves_the_last_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pth"
    plain = torch.save
    with atomic_saves():
        torch.save({"epoch": 1, "weight": torch.ones(3)}, path)
        with pytest.raises(KeyboardInterrupt):
            torch.save({"epoch": 2, "weight": torch.ones(3), "more": Stops()}, path)
        with open(tmp_path / "stream.pth", "wb") as stream:
            torch.save(torch.ones(2), stream)
    assert torch.save is plain
    assert torch.load(path, weights_only=True)["epoch"] == 1
    assert torch.load(tmp_path / "stream.pth").tolist() == [1.0, 1.0]
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.pth", "stream.pth"]


def test_names_of_any_length_and_what_is_no_file(tmp_path):
    long = "\u00e9" * 125 + ".txt"
    atomic_text(tmp_path / long, "text")
    assert (tmp_path / long).read_text() == "text"
    reader, writer = os.pipe()
    atomic_text(f"/dev/fd/{writer}", "to a pipe")
    assert os.read(reader, 100) == b"to a pipe"
    os.close(reader)
    os.close(writer)
