import json
from dataclasses import replace
from pathlib import Path

import pytest

from espnet_psslm.data.labelled import LabelledUtterance, write_data_dir
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.data.release import read_recordings

ROW = {
    "sentence": "Wake me, at Seven!",
    "scenario": "alarm",
    "action": "set",
    "tokens": [{"surface": s} for s in ("Wake", "me", "at", "Seven")],
    "entities": [{"span": [3], "type": "time"}],
    "recordings": [{"file": "a-1.flac"}, {"file": "a-2.flac"}],
}


def _write(path: Path, *rows: object) -> Path:
    path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in rows))
    return path


def test_slurp_rows(tmp_path: Path) -> None:
    for name in ("flac/a-1.flac", "test/a-2.flac"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    one, two = read_recordings(_write(tmp_path / "test.jsonl", ROW))
    assert one == LabelledUtterance(
        utt="a-1",
        text="wake me at seven",
        path=str(tmp_path / "flac/a-1.flac"),
        scenario="alarm",
        action="set",
        extra={"entities": [{"type": "time", "filler": "seven"}]},
    )
    assert (two.utt, two.path) == ("a-2", str(tmp_path / "test/a-2.flac"))


def test_missing_audio_is_left_to_the_formatting_stage(tmp_path: Path) -> None:
    utterances = read_recordings(_write(tmp_path / "x.jsonl", ROW))
    assert [u.path for u in utterances] == [str(tmp_path / f"a-{i}.flac") for i in (1, 2)]


def test_labels_may_be_absent(tmp_path: Path) -> None:
    row = {"sentence": "hello", "recordings": [{"file": "x.wav"}]}
    (utterance,) = read_recordings(_write(tmp_path / "x.jsonl", row))
    assert [r["task"] for r in utterance.rows()] == ["ASR"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops\n", ":2: no JSON"),
        ("[]\n", ":2: a list, no object"),
        ({**ROW, "sentence": 3}, ":2: field 'sentence' is 3"),
        ({"sentence": "a b"}, ":2: field 'recordings' is missing"),
        ({**ROW, "sentence": "?!"}, ":2: empty sentence"),
        ({**ROW, "recordings": [{"status": "x"}]}, ":2: recording .* has no file"),
        ({**ROW, "recordings": [{"file": "b c.flac"}]}, ":2: .*white space; rename"),
        ({**ROW, "recordings": [{"file": "a-1.flac"}]}, ":2: recording 'a-1' was there before"),
    ],
)
def test_bad_rows(line: object, message: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "x.jsonl", ROW, line)
    with pytest.raises(ValueError, match=message):
        read_recordings(path)


def test_missing_and_empty(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        read_recordings(tmp_path / "x.jsonl")
    with pytest.raises(ValueError, match="holds no recordings"):
        read_recordings(_write(tmp_path / "x.jsonl", {**ROW, "recordings": []}))


def test_manifest_round_trip(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    given = [
        LabelledUtterance("a", "wake me", path="a.wav", spk="s", scenario="alarm", action="set"),
        LabelledUtterance("b", "hello", path="b.wav", spk="s"),
    ]
    write_data_dir(tmp_path, given)
    assert (tmp_path / "spk2utt").read_text() == "s a b\n"
    assert list(read_manifest(tmp_path / "psslm.jsonl")) == [
        "a-ASR",
        "a-SLU_scenario",
        "a-SLU_action",
        "b-ASR",
    ]
    back = read_recordings(tmp_path / "psslm.jsonl")
    assert [(u.utt, u.text, u.scenario, u.action) for u in back] == [
        (u.utt, u.text, u.scenario, u.action) for u in given
    ]
    assert back[0].path == str(tmp_path / "a.wav")


def test_entities_as_a_task(tmp_path: Path) -> None:
    (utterance, _) = read_recordings(_write(tmp_path / "x.jsonl", ROW))
    assert "SLU_entities" not in {row["task"] for row in utterance.rows()}
    utterance = replace(utterance, slu_entities=True)
    assert {row["task"]: row["target"] for row in utterance.rows()}["SLU_entities"] == (
        "alarm | set | time: seven"
    )
    # A manifest carries them on; what is not labelled has no such row.
    path = _write(tmp_path / "m.jsonl", *utterance.rows())
    (back,) = read_recordings(path)
    assert back.extra == utterance.extra
    assert len(replace(back, slu_entities=True, action=None).rows()) == 2
    assert len(replace(back, slu_entities=True, extra={}).rows()) == 3


def test_audio_of_a_manifest_may_count_from_the_folder_above(tmp_path: Path) -> None:
    audio = tmp_path / "corpus/test/a.flac"
    audio.parent.mkdir(parents=True)
    audio.touch()
    row = {"key": "a-ASR", "task": "ASR", "target": "go", "path": "corpus/test/a.flac"}
    (one,) = read_recordings(_write(tmp_path / "corpus/test.jsonl", row))
    assert one.path == str(audio)


def test_manifest_without_transcript_or_audio(tmp_path: Path) -> None:
    row = {"key": "a-QA", "task": "QA", "target": "x", "path": "a.wav"}
    with pytest.raises(ValueError, match="'a' has no transcript"):
        read_recordings(_write(tmp_path / "x.jsonl", row))
    row = {"key": "a-ASR", "task": "ASR", "target": "x", "GT": "x"}
    with pytest.raises(ValueError, match="'a-ASR' has no 'path'"):
        read_recordings(_write(tmp_path / "x.jsonl", row))


def test_data_dir_needs_utterances_with_own_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no utterances"):
        write_data_dir(tmp_path, [])
    with pytest.raises(ValueError, match="more than once"):
        write_data_dir(tmp_path, [LabelledUtterance("a", "x"), LabelledUtterance("a", "y")])


def test_picovoice(shared_data: Path) -> None:
    folder = shared_data / "picovoice_s2i"
    utterances = read_recordings(folder / "test.jsonl")
    assert len(utterances) == 60
    assert all(Path(u.path or "").is_file() for u in utterances)
    assert {(u.scenario, u.action) for u in utterances} == {("takeaway", "order")}
    assert {e["type"] for u in utterances for e in u.extra["entities"]} > {"coffeeDrink", "roast"}
