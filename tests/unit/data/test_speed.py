"""Speed perturbation: tones, names, manifests."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_psslm.bin.perturb_speed import main
from espnet_psslm.common.left_out import read_dropped
from espnet_psslm.data.format import filter_data, format_data
from espnet_psslm.data.kaldi import read_table
from espnet_psslm.data.speed import change_speed
from tests.helpers import run_and_fail

FS = 16000


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * FS)) / FS)


def loudest(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * FS / len(samples))


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.25])
def test_tempo_and_pitch_change_together(factor: float) -> None:
    changed = change_speed(tone(440), factor, fs=FS)
    assert changed.dtype == np.float32
    assert len(changed) == pytest.approx(FS / factor, abs=2)
    assert loudest(changed) == pytest.approx(440 * factor, abs=1.5)
    assert np.abs(changed[100:-100]).max() == pytest.approx(0.5, abs=0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    rows = []
    for utt in ("a", "b"):
        path = data / f"{utt}.wav"
        soundfile.write(path, tone(300, 0.5), FS)
        row = {"key": f"{utt}-ASR", "task": "ASR", "target": "x", "utt": utt, "path": str(path)}
        rows.append(json.dumps(row) + "\n")
    (data / "wav.scp").write_text(f"a {data}/a.wav\nb {data}/b.wav\n")
    (data / "text").write_text("a first\nb second one\n")
    (data / "utt2spk").write_text("a anna\nb bert\n")
    (data / "psslm.jsonl").write_text("".join(rows))
    return data


def test_every_utterance_once_per_factor(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "sp"
    options = ["--data_dir", str(folder), "--output_dir", str(output), "--nj", "1"]
    main([*options, "--factors", "0.9", "1.0", "1.1"])
    names = ["a", "b", "sp0.9-a", "sp0.9-b", "sp1.1-a", "sp1.1-b"]
    scp = read_table(output / "wav.scp")
    assert list(scp) == names and scp["a"] == f"{folder}/a.wav"
    lengths = {name: soundfile.info(path).frames for name, path in scp.items()}
    assert lengths["sp0.9-b"] == pytest.approx(8000 / 0.9, abs=2)
    assert lengths["sp1.1-b"] == pytest.approx(8000 / 1.1, abs=2)
    assert read_table(output / "text")["sp1.1-b"] == "second one"
    assert read_table(output / "utt2spk")["sp0.9-a"] == "sp0.9-anna"
    rows = [json.loads(line) for line in (output / "psslm.jsonl").read_text().splitlines()]
    assert sorted(row["utt"] for row in rows) == names
    assert {row["key"]: row["path"] for row in rows}["sp0.9-a-ASR"] == scp["sp0.9-a"]


@pytest.mark.parametrize(
    ("factors", "message"), [(["0.9", "0.9"], "each speed once"), (["0"], "each speed once")]
)
def test_bad_factors(
    factors: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        main(["--data_dir", str(folder), "--output_dir", str(folder / "x"), "--factors", *factors])
    assert message in capsys.readouterr().err


def test_what_cannot_be_read_counts_as_dropped(folder: Path, tmp_path: Path) -> None:
    """Stage 3 leaves the recording out as it is, here its copies; --max_dropped counts both."""
    output, raw = tmp_path / "sp", tmp_path / "raw"
    soundfile.write(folder / "c.wav", np.zeros(0), FS)
    (folder / "wav.scp").write_text(f"a {folder}/absent.wav\nb {folder}/b.wav\nc {folder}/c.wav\n")
    (folder / "text").write_text("a first\nb second one\nc third\n")
    options = ["--data_dir", str(folder), "--output_dir", str(output), "--nj", "1"]
    main([*options, "--factors", "0.9", "1.0"])
    assert list(read_table(output / "wav.scp")) == ["a", "b", "c", "sp0.9-b"]
    assert list(read_table(output / "text")) == ["a", "b", "c", "sp0.9-b"]
    dropped = {entry.name: entry for entry in read_dropped(output)}
    assert list(dropped) == ["sp0.9-a", "sp0.9-c"]
    assert "absent.wav" in dropped["sp0.9-a"].reason and dropped["sp0.9-a"].stage == 2
    assert "no samples" in dropped["sp0.9-c"].reason
    format_data(output, raw, fs=FS, nj=1)
    assert list(read_table(raw / "wav.scp")) == ["b", "sp0.9-b"]
    limits = {"fs": FS, "min_duration_s": 0.1, "max_duration_s": 30}
    with pytest.raises(ValueError, match="4 of 6 utterances cannot be used"):
        filter_data(raw, **limits, max_dropped=0.6)


def test_nothing_that_can_be_read_is_an_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "wav.scp").write_text(f"a {folder}/absent.wav\n")
    command = ["--data_dir", str(folder), "--output_dir", str(tmp_path / "x"), "--nj", "1"]
    error = run_and_fail(main, command, capsys)
    assert "no recording can be read; sp0.9-a: " in error and "absent.wav" in error
