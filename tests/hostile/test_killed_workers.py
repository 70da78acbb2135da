"""Processes of stages 2 and 3 that are killed, as a system without memory does."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_psslm.bin import format_wav, perturb_speed
from tests.helpers import run_and_fail

FS = 16000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six recordings."""
    folder = tmp_path / "data"
    folder.mkdir()
    names = [f"utt{index}" for index in range(6)]
    for name in names:
        soundfile.write(folder / f"{name}.wav", 0.1 * np.ones(800), FS)
    (folder / "wav.scp").write_text("".join(f"{n} {folder}/{n}.wav\n" for n in names))
    (folder / "text").write_text("".join(f"{n} a word\n" for n in names))
    return folder


def _die(*_args: object, **_options: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("stage", [format_wav, perturb_speed], ids=["3", "2"])
def test_what_the_killed_process_had_is_named(stage, data, tmp_path, monkeypatch, capsys) -> None:
    command = ["--data_dir", str(data), "--output_dir", str(tmp_path / "out"), "--nj", "2"]
    with monkeypatch.context() as patch:
        patch.setattr("soundfile.write", _die)
        patch.setattr("espnet_psslm.data.format.KEPT_SUFFIXES", ())
        error = run_and_fail(stage.main, command, capsys)
    assert "the process that read utt" in error and "was killed (SIGKILL)" in error
    assert "utt0, utt1, utt2, utt3" in error or "utt4, utt5" in error
    stage.main(command)
    assert "utt5 " in (tmp_path / "out/wav.scp").read_text()
