"""Kaldi's segments: in format, speed, conversion, and wherever audio is read."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_psslm.data.audio import AudioError, AudioScpReader, read_audio
from espnet_psslm.data.audio_batches import AudioBatches
from espnet_psslm.data.convert import to_rows
from espnet_psslm.data.format import format_data
from espnet_psslm.data.kaldi import read_table
from espnet_psslm.data.manifest import check_manifest, read_manifest
from espnet_psslm.data.speed import perturb_data
from espnet_psslm.samples.segments import Part, find_beside, read_sources
from tests.helpers import write_jsonl

FS = 16000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two recordings, whose samples say where they stand, and four parts of them."""
    for name, seconds in (("rec0", 2.3), ("rec1", 1.0)):
        ramp = np.arange(round(seconds * FS)) / (4 * FS)
        soundfile.write(tmp_path / f"{name}.flac", ramp, FS)
    scp = "".join(f"{name} {tmp_path}/{name}.flac\n" for name in ("rec0", "rec1"))
    (tmp_path / "wav.scp").write_text(scp)
    segments = "seg0 rec0 0.00 1.00\nseg1 rec0 1.00 2.20\nseg2 rec1 0.5 -1\nseg3 rec1 0.9 1.2\n"
    (tmp_path / "segments").write_text(segments)
    texts = "seg0 take the meeting\nseg1 off my calendar\nseg2 now\nseg3 please\n"
    (tmp_path / "text").write_text(texts)
    return tmp_path


SECONDS = {"seg0": (0.0, 1.0), "seg1": (1.0, 2.2), "seg2": (0.5, 1.0), "seg3": (0.9, 1.0)}


def check(utt: str, samples: np.ndarray) -> None:
    start, end = SECONDS[utt]
    assert len(samples) == round((end - start) * FS)
    assert samples[[0, -1]] == pytest.approx([start / 4, end / 4], abs=1e-3)


def test_parts_are_sources(data: Path) -> None:
    assert read_sources(data / "wav.scp")["seg1"] == f"{data}/rec0.flac#t=1,2.2"
    for utt, samples in AudioScpReader(data / "wav.scp").items():
        check(utt, samples)
    (data / "segments").unlink()
    assert list(read_sources(data / "wav.scp")) == ["rec0", "rec1"]


def test_stage_3_cuts_them(data: Path) -> None:
    format_data(data, data / "out", fs=FS, nj=1)
    paths = read_table(data / "out/wav.scp")
    assert paths.keys() == SECONDS.keys() and not (data / "out/segments").exists()
    for utt, path in paths.items():
        assert Path(path).parent == data / "out/audio"
        check(utt, read_audio(path))


def test_speed_and_conversion_take_them(data: Path) -> None:
    perturb_data(data, data / "sp", factors=[1.0, 2.0], fs=FS, nj=1)
    paths = read_table(data / "sp/wav.scp")
    assert len(read_audio(paths["sp2-seg1"])) == round(0.6 * FS)
    check("seg1", read_audio(paths["seg1"]))
    rows = {row["utt"]: row for row in to_rows(data)}
    assert rows["seg1"]["GT"] == "off my calendar"
    for utt, row in rows.items():
        check(utt, read_audio(row["path"]))


def test_a_plain_folder_is_read_in_batches(data: Path) -> None:
    batches = AudioBatches(data, batch_size=2)
    read = [batch.utt_ids for batch in batches]
    assert read == [["seg1", "seg0"], ["seg2", "seg3"]]  # a recording's parts together
    assert batches.num_samples == sum(round((b - a) * FS) for a, b in SECONDS.values())
    (data / "segments").unlink()
    (data / "wav.scp").write_text(f"b {data}/rec1.flac\na {data}/rec0.flac\nc absent.flac\n")
    batches = AudioBatches(data, batch_size=1)
    assert [batch.utt_ids for batch in batches] == [["a"], ["b"]]
    assert list(batches.skipped) == ["c"] and batches.num_samples == round(3.3 * FS)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seg0 rec0 0", "is no segment; write 'utterance recording start end'"),
        ("seg0 rec9 0 1", "recording rec9 of utterance seg0 is not in wav.scp"),
        ("seg0 rec0 one 2", "start and end are seconds"),
        ("seg0 rec0 2 1", "must end behind its start"),
        ("seg0 rec0 nan 1", "must end behind its start"),
        ("seg9 rec0 0 1\nseg9 rec0 1 2", "segments:2: utterance seg9 was there before"),
    ],
)
def test_lines_that_are_none(data: Path, line: str, message: str) -> None:
    (data / "segments").write_text(f"{line}\n")
    with pytest.raises(ValueError, match=message):
        read_sources(data / "wav.scp")


def test_parts_that_are_not_there(data: Path) -> None:
    with pytest.raises(AudioError, match=r"rec1.flac#t=0.5,2: the recording has 1.00 s"):
        read_audio(f"{data}/rec1.flac#t=0.5,2")
    with pytest.raises(AudioError, match=r"absent.flac: no such file"):
        read_audio(f"{data}/absent.flac#t=0.5,2")
    strange = data / "a.flac#t=0,1"  # a file of that name is a file
    (data / "rec1.flac").rename(strange)
    assert Part.of(str(strange)) is None and len(read_audio(str(strange))) == FS


def test_paths_of_a_manifest_are_looked_for_beside_it(
    data: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"key": "a", "task": "ASR", "target": "x", "path": "../rec0.flac#t=1,2.2"}
    (data / "sub").mkdir()
    manifest = write_jsonl(data / "sub/x.jsonl", [row, row | {"key": "b", "path": "../rec1.flac"}])
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    for rows in (read_manifest(manifest), check_manifest(manifest)[0]):
        check("seg1", read_audio(rows["a"]["path"]))
        assert len(read_audio(rows["b"]["path"])) == FS
    monkeypatch.chdir(data / "sub")  # what is found from the working folder stays
    assert read_manifest(manifest)["a"]["path"] == row["path"]
    assert find_beside("rec0.flac:17", data) == f"{data}/rec0.flac:17"
    assert find_beside("/rec0.flac", data) == "/rec0.flac"
    assert find_beside("absent.flac", data) == "absent.flac"
