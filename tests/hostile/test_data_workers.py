"""Samples that cannot be read, in the data workers of a training: one line, with the key."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from espnet_psslm.bin.command import options
from espnet_psslm.bridge.steps_file import read_sample
from espnet_psslm.data.audio import AudioScpReader
from espnet_psslm.data.manifest import parse_line
from espnet_psslm.data.preprocessor import PSSLMPreprocessor


class Prompts:
    """One prompt, no token."""

    def indices(self, task: str) -> list[int]:
        return [0]

    def token_ids(self, index: int, row: dict) -> tuple[list[int], list[int]]:
        return [], []

    def encode_text(self, text: str) -> list[int]:
        return []


class Rows:
    """Rows of a manifest as ESPnet's dataset hands them to the preprocessor."""

    def __init__(self, rows: list[dict]) -> None:
        self.rows = rows
        self.read = PSSLMPreprocessor(True, prompts=Prompts(), units=None, end_id=0)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.read(self.rows[index]["key"], {"sample": self.rows[index]})


class Speech:
    """A ``wav.scp`` as ESPnet's dataset reads it."""

    def __init__(self, path: Path) -> None:
        self.audio = AudioScpReader(path)

    def __len__(self) -> int:
        return len(self.audio)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.audio[list(self.audio)[index]]


def said(dataset: object, num_workers: int, capsys: pytest.CaptureFixture) -> str:
    """What a training says that meets the dataset's first sample."""
    with pytest.raises(SystemExit), options(argparse.ArgumentParser("train"), []):
        next(iter(DataLoader(dataset, num_workers=num_workers)))
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("num_workers", [0, 1])
def test_one_line_with_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture, num_workers: int
) -> None:
    (tmp_path / "wav.scp").write_text(f"utt7 {'x' * 300}\n")
    line = said(Speech(tmp_path / "wav.scp"), num_workers, capsys)
    assert line.startswith("train: error: utterance 'utt7' of ") and "too long" in line
    for row, reason in (
        ({"path": f"{tmp_path}/absent.wav"}, "no such file"),
        ({"path": f"touch {tmp_path}/RAN |"}, "Commands run from a wav.scp alone"),
        ({"steps": f"{tmp_path}/absent.ark:7"}, "no Steps at"),
    ):
        row |= {"key": "k", "task": "ASR", "target": "x"}
        line = said(Rows([row]), num_workers, capsys)
        assert line.startswith("train: error: sample 'k': ") and reason in line
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize(
    ("content", "offset"),
    [
        (b"PK\x03\x04" + bytes(100), "0"),  # numpy takes it for an archive
        (b"\x93NUMPY\x01\x00", "0"),
        (b"", "9" * 30),
        (b"", "9" * 5000),
        (b"", "-1"),
        (b"", "x"),
    ],
)
def test_steps_that_are_none(tmp_path: Path, content: bytes, offset: str) -> None:
    (tmp_path / "a.ark").write_bytes(content)
    with pytest.raises(ValueError, match="no Steps at"):
        read_sample(f"{tmp_path}/a.ark:{offset}")


def test_steps_of_an_absurd_size(tmp_path: Path) -> None:
    with open(tmp_path / "a.ark", "wb") as file:
        header = {"descr": "<u2", "fortran_order": False, "shape": (1 << 40, 16)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(ValueError, match="no Steps at"):
        read_sample(f"{tmp_path}/a.ark:0")


@pytest.mark.parametrize("task", ["../../x", "/abs", "a/b", "..", ".hidden"])
def test_tasks_are_not_paths(task: str) -> None:
    row = f'{{"key": "a", "task": "{task}", "target": "x", "GT": "x"}}'
    _, fault = parse_line(row.encode())
    assert fault[0] == f"task {task!r} of key 'a' has '/', or begins with '.'"
