"""Files given to ``transcribe`` that are commands, cannot be read, or have odd names."""

import json
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000


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
