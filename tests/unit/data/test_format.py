import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from espnet_psslm.bin import filter_data, format_wav
from espnet_psslm.data.kaldi import read_table, write_table
from espnet_psslm.data.labelled import LabelledUtterance, write_data_dir
from espnet_psslm.data.manifest import read_manifest

FS = 16000


def _tone(seconds: float, fs: int = FS, channels: int = 1) -> np.ndarray:
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * fs)) / fs)
    return np.stack([tone] * channels, axis=1)


def _data(folder: Path, paths: dict[str, Path]) -> Path:
    write_data_dir(
        folder / "data",
        [LabelledUtterance(u, f"text {u}", path=str(p), scenario="s") for u, p in paths.items()],
    )
    return folder / "data"


def _good(folder: Path, count: int) -> dict[str, Path]:
    paths = {f"good{index:03d}": folder / f"good{index:03d}.wav" for index in range(count)}
    for path in paths.values():
        soundfile.write(path, _tone(0.5), FS)
    return paths


def _format(data: Path, output: Path, nj: int = 1) -> None:
    format_wav.main(["--data_dir", str(data), "--output_dir", str(output), "--nj", str(nj)])


def _filter(output: Path, *options: str) -> None:
    filter_data.main(["--data_dir", str(output), *options])


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_good_audio_stays_where_it_is(tmp_path: Path) -> None:
    data = _data(tmp_path, _good(tmp_path, 3))
    _format(data, tmp_path / "out", nj=2)
    for name in ("wav.scp", "text", "utt2spk", "spk2utt", "psslm.jsonl"):
        rows = (data / name).read_text(), (tmp_path / "out" / name).read_text()
        assert rows[0] == rows[1], name
    assert set(read_table(tmp_path / "out/utt2num_samples").values()) == {"8000"}
    assert (tmp_path / "out/dropped.txt").read_text() == ""
    _filter(tmp_path / "out")
    assert (tmp_path / "out/speech_shape").read_text().splitlines()[0] == "good000 8000"


def test_other_rate_and_stereo_are_converted_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = _good(tmp_path, 1)
    for name, fs, channels in (("a", 8000, 1), ("b", 44100, 2), ("c", FS, 2), ("d", 8000, 1)):
        paths[name] = tmp_path / f"{name}.wav"
        soundfile.write(paths[name], _tone(1.0, fs, channels), fs)
    with caplog.at_level(logging.WARNING):
        _format(_data(tmp_path, paths), tmp_path / "out")
    said = [record.getMessage() for record in caplog.records]
    assert sum("3 of 5 recordings resampled to 16000 Hz" in line for line in said) == 1
    assert sum("2 of 5 recordings mixed down to mono" in line for line in said) == 1
    assert len(said) == 2
    scp = read_table(tmp_path / "out/wav.scp")
    for name in "abcd":
        samples, fs = soundfile.read(scp[name])
        assert (scp[name], fs, samples.ndim) == (str(tmp_path / f"out/audio/{name}.flac"), FS, 1)
        assert len(samples) == int(read_table(tmp_path / "out/utt2num_samples")[name])
        assert abs(len(samples) - FS) <= 1
    rows = read_manifest(tmp_path / "out/psslm.jsonl")
    assert rows["a-ASR"]["path"] == scp["a"]


def test_bad_audio_is_dropped_and_listed(tmp_path: Path) -> None:
    paths = _good(tmp_path, 2)
    for name in ("missing", "empty", "truncated", "text", "nothing"):
        paths[name] = tmp_path / f"{name}.wav"
    paths["empty"].touch()
    soundfile.write(paths["truncated"], _tone(1.0), FS)
    paths["truncated"].write_bytes(paths["truncated"].read_bytes()[:9000])
    paths["text"].write_text("not audio " * 100)
    soundfile.write(paths["nothing"], _tone(0.0), FS)
    data = _data(tmp_path, paths)
    texts = read_table(data / "text")
    del texts["good001"]
    write_table(data / "text", {**texts, "silent": "no audio"})
    _format(data, tmp_path / "out")
    lines = (tmp_path / "out/dropped.txt").read_text().splitlines()
    reasons = {line.split("\t")[0]: line.split("\t")[1:] for line in lines}
    bad = {"missing", "empty", "truncated", "text", "nothing"}
    assert set(reasons) == bad | {"good001", "silent"}
    assert reasons["good001"] == ["no transcript in text", "3", "utt"]
    assert "truncated" in reasons["truncated"][0]
    assert list(read_table(tmp_path / "out/wav.scp")) == ["good000"]
    assert list(read_manifest(tmp_path / "out/psslm.jsonl")) == [
        "good000-ASR",
        "good000-SLU_scenario",
    ]


def test_nothing_usable_is_one_clear_line(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    data = _data(tmp_path, {"a": tmp_path / "a.wav"})
    with pytest.raises(SystemExit) as stop:
        _format(data, tmp_path / "out")
    assert stop.value.code == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert "none of 1 recordings can be used" in last and "a.wav" in last


def _formatted(tmp_path: Path, num_good: int) -> Path:
    paths = _good(tmp_path, num_good)
    for name, seconds in (("long", 2.0), ("short", 0.05)):
        paths[name] = tmp_path / f"{name}.wav"
        soundfile.write(paths[name], _tone(seconds), FS)
    data = _data(tmp_path, paths)
    write_table(data / "text", {**read_table(data / "text"), "good000": ""})
    _format(data, tmp_path / "out", nj=2)
    return tmp_path / "out"


def test_filter(tmp_path: Path) -> None:
    output = _formatted(tmp_path, 5)
    options = ("--max_duration_s", "1.5", "--max_dropped", "0.5")
    _filter(output, *options)
    lines = (output / "dropped.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["good000", "long", "short"]
    assert lines[0] == "good000\tempty transcript\t4\tutt"
    assert "2.00 s is longer than 1.5 s" in lines[1]
    kept = ["good001", "good002", "good003", "good004"]
    for name in ("wav.scp", "text", "utt2spk", "utt2num_samples", "speech_shape"):
        assert list(read_table(output / name)) == kept, name
    assert {r["utt"] for r in read_manifest(output / "psslm.jsonl").values()} == set(kept)
    before = _snapshot(output)
    _filter(output, *options)  # again: nothing changes, nothing is counted twice
    assert _snapshot(output) == before


def test_filter_stops_above_the_limit_and_leaves_the_data(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    output = _formatted(tmp_path, 5)
    before = _snapshot(output)
    for _ in range(2):  # the second try counts the same
        with pytest.raises(SystemExit) as stop:
            _filter(output, "--max_duration_s", "1.5")
        assert stop.value.code == 1
        last = capfd.readouterr().err.strip().splitlines()[-1]
        assert "3 of 7 utterances cannot be used" in last and "1.00% (--max_dropped)" in last
        after = _snapshot(output)
        assert len(after.pop("dropped.txt").splitlines()) == 3
        assert after == {name: data for name, data in before.items() if name != "dropped.txt"}
    _filter(output, "--max_duration_s", "1.5", "--max_dropped", "0.43")


def test_limit_counts_both_stages(tmp_path: Path) -> None:
    paths = {**_good(tmp_path, 3), "missing": tmp_path / "missing.wav"}
    _format(_data(tmp_path, paths), tmp_path / "out")
    with pytest.raises(SystemExit):
        _filter(tmp_path / "out", "--max_dropped", "0.24")
    _filter(tmp_path / "out", "--max_dropped", "0.25")


def test_bad_manifest_rows_are_counted(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    data = _data(tmp_path, _good(tmp_path, 2))
    manifest = data / "psslm.jsonl"
    manifest.write_text(manifest.read_text() + '{"key": "x"}\n')
    _format(data, tmp_path / "out")
    with pytest.raises(SystemExit):
        _filter(tmp_path / "out")
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert "1 of 5 manifest rows cannot be used" in last
    assert f"{manifest}:5: field 'task' is missing (key 'x'); add 'task'" in last
    _filter(tmp_path / "out", "--max_dropped", "0.2")


def test_missing_input(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        _format(tmp_path, tmp_path / "out")
    assert "wav.scp does not exist" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        _filter(tmp_path)
    assert "wav.scp does not exist" in capfd.readouterr().err


def test_repeated_utterance(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a x\na y\n")
    with pytest.raises(ValueError, match=r"text:2: utterance a was there before"):
        read_table(tmp_path / "text")


def test_workers_survive_openmp_in_the_parent(tmp_path: Path) -> None:
    torch.randn(512, 512) @ torch.randn(512, 512)  # starts OpenMP's threads, which a fork loses
    soundfile.write(tmp_path / "a.wav", _tone(0.5, fs=8000), 8000)
    data = _data(tmp_path, {"a": tmp_path / "a.wav"})
    _format(data, tmp_path / "out", nj=2)
    assert read_table(tmp_path / "out" / "utt2num_samples") == {"a": "8000"}
