"""Stages 1 to 3: hostile ids, commands for file names, files that cannot be read."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_psslm.bin import format_wav, perturb_speed
from espnet_psslm.common.left_out import read_dropped
from espnet_psslm.data.common_voice import clip_name
from espnet_psslm.data.kaldi import read_table
from espnet_psslm.data.release import read_recordings
from tests.helpers import run_and_fail, write_jsonl

FS = 8000  # is resampled, so that all audio is written anew
ODD_IDS = ("../../escaped", "/abs/escaped", "a/b", "x" * 300, "-rf", "..", "a|", "a~b")
STAGES = {"format": format_wav.main, "speed": perturb_speed.main}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Good audio beneath hostile ids, deep enough that what climbs out of it is seen."""
    folder = tmp_path / "deep/er/data"
    folder.mkdir(parents=True)
    soundfile.write(tmp_path / "a.wav", 0.1 * np.ones(FS // 2), FS)
    table(folder, dict.fromkeys(("good", *ODD_IDS), str(tmp_path / "a.wav")))
    return folder


def table(folder: Path, sources: dict[str, str]) -> None:
    (folder / "wav.scp").write_text("".join(f"{utt} {path}\n" for utt, path in sources.items()))
    (folder / "text").write_text("".join(f"{utt} words\n" for utt in sources))


def run(stage: str, folder: Path, *options: str) -> Path:
    output = folder.parent / stage
    factors = ("--factors", "0.9") if stage == "speed" else ()
    where = ("--data_dir", str(folder), "--output_dir", str(output), "--nj", "1")
    STAGES[stage]([*where, *factors, *options])
    return output


@pytest.mark.parametrize("stage", STAGES)
def test_ids_are_not_paths(corpus: Path, tmp_path: Path, stage: str) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    output = run(stage, corpus)
    written = read_table(output / "wav.scp")
    prefix = "sp0.9-" if stage == "speed" else ""
    assert set(written) == {prefix + utt for utt in ("good", *ODD_IDS)}  # the others go on
    assert len(set(written.values())) == len(written)
    assert all(Path(path).parent == output / "audio" for path in written.values())
    assert written[f"{prefix}good"] == str(output / f"audio/{prefix}good.flac")
    assert all(soundfile.info(path).samplerate == 16000 for path in written.values())
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert all(path.is_relative_to(output) for path in new)


@pytest.mark.parametrize("stage", STAGES)
def test_commands_run_when_asked_for(corpus: Path, tmp_path: Path, stage: str) -> None:
    table(corpus, {"a": f"{tmp_path}/a.wav", "b": f"touch {tmp_path}/RAN; cat {tmp_path}/a.wav |"})
    prefix = "sp0.9-" if stage == "speed" else ""
    output = run(stage, corpus)
    assert set(read_table(output / "wav.scp")) == {f"{prefix}a"}
    assert not (tmp_path / "RAN").exists()
    [entry] = read_dropped(output)
    assert entry.name == f"{prefix}b" and "--allow_pipes true" in entry.reason
    output = run(stage, corpus, "--allow_pipes", "true")
    assert set(read_table(output / "wav.scp")) == {f"{prefix}a", f"{prefix}b"}
    assert (tmp_path / "RAN").exists()


@pytest.mark.parametrize("stage", STAGES)
def test_one_bad_file_never_ends_a_batch(corpus: Path, tmp_path: Path, stage: str) -> None:
    os.symlink("loop", tmp_path / "loop")
    soundfile.write(tmp_path / "slow.wav", np.zeros(100), 16000)
    data = bytearray((tmp_path / "slow.wav").read_bytes())
    data[24:28] = (7).to_bytes(4, "little")
    (tmp_path / "slow.wav").write_bytes(data)
    (tmp_path / "x.raw").write_bytes(b"abc")
    bad = {
        "long": "x" * 5000,
        "loop": f"{tmp_path}/loop",
        "below": f"{tmp_path}/a.wav/b.wav",
        "folder": str(tmp_path),
        "slow": f"{tmp_path}/slow.wav",
        "raw": f"{tmp_path}/x.raw",
        "ark": f"{tmp_path}/a.wav:999999999999999999",
        "huge": f"{tmp_path}/a.wav:{'9' * 5000}",
    }
    table(corpus, bad | {"good": f"{tmp_path}/a.wav"})
    output = run(stage, corpus)
    prefix = "sp0.9-" if stage == "speed" else ""
    assert set(read_table(output / "wav.scp")) == {f"{prefix}good"}
    dropped = {entry.name: entry.reason for entry in read_dropped(output)}
    assert set(dropped) == {prefix + utt for utt in bad}
    assert "too long" in dropped[f"{prefix}long"] and "7 Hz" in dropped[f"{prefix}slow"]


def test_nothing_usable_is_one_line(corpus: Path, capsys: pytest.CaptureFixture) -> None:
    table(corpus, {"a": "touch RAN |"})
    command = ["--data_dir", str(corpus), "--output_dir", str(corpus.parent / "out")]
    assert "none of 1 recordings can be used" in run_and_fail(format_wav.main, command, capsys)


FILES = ("x;touch${IFS}RAN;.wav|", "x.wav |", "x.wav\nb${IFS}touch${IFS}RAN|", "|")


@pytest.mark.parametrize("name", FILES)
def test_file_names_of_a_release_become_no_commands(tmp_path: Path, name: str) -> None:
    row = {"sentence": "one two", "recordings": [{"file": name}]}
    with pytest.raises(ValueError, match=r"rows.jsonl:1: "):
        read_recordings(write_jsonl(tmp_path / "rows.jsonl", [row]))
    row = {"key": "a-ASR", "task": "ASR", "target": "one", "path": name}
    with pytest.raises(ValueError, match=r"rows.jsonl: key 'a-ASR': path "):
        read_recordings(write_jsonl(tmp_path / "rows.jsonl", [row]))


@pytest.mark.parametrize("path", [*FILES, "x.mp3|", "../x.mp3", "/x.mp3"])
def test_paths_of_common_voice_become_no_commands(path: str) -> None:
    assert clip_name(path) == ""
