"""Files given to ``transcribe`` that are commands, cannot be read, or have odd names."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from espnet_psslm.bin import transcribe

RATE = 16000


class Model:
    """Answers with the number of samples."""

    familiarity = None

    def __call__(self, waves, task):
        texts = [str(len(wave)) for wave in waves]
        return [[(t, [], [], SimpleNamespace(text=t, outside=None, score=0.0, confidence=None))]
                for t in texts]  # fmt: skip


@pytest.fixture
def answered(tmp_path, monkeypatch, capsys):
    """Run the command in a folder of its own; returns exit status, answers and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transcribe, "load", lambda args: Model())

    def run(*words):
        status = 0
        try:
            transcribe.main([*words, "--model", "x"])
        except SystemExit as stopped:
            status = stopped.code
        return status, *capsys.readouterr()

    return run


def write(name, count=1600):
    soundfile.write("a.wav", 0.1 * np.ones(count), RATE)
    Path("a.wav").rename(name)


def test_nothing_that_is_no_audio_ends_the_others(answered, caplog):
    write("good.wav")
    write("touch RAN |", 800)  # a file: it is there
    bad = ["touch RAN2 |", "x" * 5000, ".", "absent.wav", "good.wav/below", "good.wav:7", "\ud800"]
    status, out, err = answered(*bad, "touch RAN |", "good.wav", "--format", "json")
    assert status == 1 and err.splitlines()[-1].endswith("error: 7 of 9 files failed")
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["file"]: row["text"] for row in rows} == {"touch RAN |": "800", "good.wav": "1600"}
    assert not Path("RAN").exists() and not Path("RAN2").exists()
    said = [record.getMessage() for record in caplog.records]
    assert all(any(line.startswith(f"{name}: ") for line in said) for name in bad)


def test_odd_names_write_into_the_folder_alone(answered, tmp_path):
    (tmp_path / "in").mkdir()
    names = ["x" * 250 + ".wav", "-rf.wav", "my file.wav", "..wav", "höre.wav"]
    for name in names:
        write(tmp_path / "in" / name)
    sources = [str(tmp_path / "in" / name) for name in names]
    status, _, _ = answered(*sources, "--format", "json", "--output_dir", "out")
    assert status == 0
    written = sorted(path.name for path in Path("out").iterdir())
    assert len(written) == len(names) and {"my file.json", "höre.json"} <= set(written)
    rows = [json.loads((tmp_path / "out" / name).read_text()) for name in written]
    assert {row["file"] for row in rows} == set(sources)
