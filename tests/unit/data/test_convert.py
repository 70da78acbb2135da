import json
from pathlib import Path

import pytest

from espnet_psslm.bin import data2jsonl, jsonl2data
from espnet_psslm.data.convert import to_data_dir, to_rows
from espnet_psslm.data.kaldi import read_table
from espnet_psslm.data.manifest import read_manifest
from tests.helpers import write_jsonl

# Scripts, marks and signs that a careless normalisation would take away.
TARGETS = {
    "EN2DE": "Schön, daß du da bist – 3½ „Grüße“!",
    "EN2ZH": "你好，世界！　“在线”",
    "EN2AR": "مَرْحَبًا، كيف حالك؟",
    "EN2HI": "नमस्ते दुनिया।",
    "EN2FR": "L’été, ça va ?",
}


def rows(utt: str = "u1", **more: str) -> list[dict[str, str]]:
    shared = {"path": f"audio/{utt}.wav", "GT": "hello world", "spk": "anna"} | more
    made = [{"key": f"{utt}-ASR", "task": "ASR", "target": "Hello, world!"} | shared]
    made += [
        {"key": f"{utt}-{task}", "task": task, "target": target} | shared
        for task, target in TARGETS.items()
    ]
    return made


def test_there_and_back_keeps_every_target(tmp_path: Path) -> None:
    given = rows() + rows("u2", hotword="Zoë, 北京", prevtext="And then?")
    manifest = write_jsonl(tmp_path / "in.jsonl", given)
    jsonl2data.main(["--manifest", str(manifest), "--data_dir", str(tmp_path / "data")])
    assert read_table(tmp_path / "data/text") == {"u1": "hello world", "u2": "hello world"}
    assert read_table(tmp_path / "data/text.ASR")["u1"] == "Hello, world!"
    assert (tmp_path / "data/spk2utt").read_text() == "anna u1 u2\n"
    assert read_table(tmp_path / "data/utt2hotword") == {"u2": "Zoë, 北京"}
    back = tmp_path / "new/back.jsonl"
    data2jsonl.main(["--data_dir", str(tmp_path / "data"), "--manifest", str(back)])
    read = read_manifest(back)
    for row in given:
        assert read.pop(row["key"]) == row | {"utt": row["key"].split("-")[0]}
    assert not read
    # The folder's own manifest says the same.
    assert read_manifest(tmp_path / "data/psslm.jsonl").keys() == {row["key"] for row in given}


def test_text_only_and_chosen_tasks(tmp_path: Path) -> None:
    given = [
        {"key": "a", "task": "ASR", "target": "one two"},
        {"key": "b", "task": "SLU_scenario", "target": "alarm", "GT": "wake me"},
    ]
    given = [row | {"GT": row.get("GT", "one two")} for row in given]
    to_data_dir(write_jsonl(tmp_path / "in.jsonl", given), tmp_path / "data")
    assert not (tmp_path / "data/wav.scp").exists()
    assert not (tmp_path / "data/text.ASR").exists()
    assert [row["key"] for row in to_rows(tmp_path / "data", tasks=["SLU_scenario"])] == [
        "b-SLU_scenario"
    ]
    assert [row["key"] for row in to_rows(tmp_path / "data")] == ["a-ASR", "b-ASR"] + [
        "b-SLU_scenario"
    ]


def test_audio_beside_the_manifest_is_found(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio/u1.wav").touch()
    given = [*rows()[:1], *rows("u2", path="elsewhere/x.mp3")[:1]]
    to_data_dir(write_jsonl(tmp_path / "in.jsonl", given), tmp_path / "data")
    assert read_table(tmp_path / "data/wav.scp") == {
        "u1": str(tmp_path / "audio/u1.wav"),
        "u2": "elsewhere/x.mp3",
    }


@pytest.mark.parametrize("path", ["touch EXECUTED |", "x.wav\nu2 touch EXECUTED |", "x.wav | "])
def test_a_path_becomes_no_command(path: str, tmp_path: Path) -> None:
    manifest = write_jsonl(tmp_path / "in.jsonl", rows("u1", path=path)[:1])
    with pytest.raises(ValueError, match=r"key 'u1-\w+': path '.*rename the file"):
        to_data_dir(manifest, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "two\nlines"}, "key 'u1-ASR': 'two.nlines' does not fit into one line"),
        ({"target": " blank "}, "does not fit into one line of text.ASR"),
        ({"GT": "other"}, "text of utterance 'u1' is 'other' already, not 'hello world'"),
        ({"path": "y.wav"}, "wav.scp of utterance 'u1' is 'y.wav' already"),
    ],
)
def test_what_fits_no_table(change: dict[str, str], message: str, tmp_path: Path) -> None:
    first, *others = rows()
    manifest = write_jsonl(tmp_path / "in.jsonl", [first | change, *others])
    with pytest.raises(ValueError, match=message):
        to_data_dir(manifest, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_transcript_and_audio_of_all_or_none(tmp_path: Path) -> None:
    row = {"key": "q", "task": "QA", "target": "Paris", "path": "q.wav"}
    with pytest.raises(ValueError, match="'q' has nothing for text; add an ASR row"):
        to_data_dir(write_jsonl(tmp_path / "in.jsonl", [row]), tmp_path / "data")
    given = [*rows()[:1], {"key": "t", "task": "ASR", "target": "x", "GT": "x"}]
    with pytest.raises(ValueError, match="'t' has nothing for wav.scp; add the field 'path'"):
        to_data_dir(write_jsonl(tmp_path / "in.jsonl", given), tmp_path / "data")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("text.EN2DE", "u9 x\n", "'u9' of EN2DE is not in text"),
        ("wav.scp", "u1 a.wav\n", "'u2' of text has no audio"),
    ],
)
def test_folders_that_do_not_fit(file: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("u1 a\nu2 b\n")
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        to_rows(tmp_path)


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "text").write_text("")
    for main, options in (
        (data2jsonl.main, ["--data_dir", str(tmp_path), "--manifest", str(tmp_path / "x")]),
        (jsonl2data.main, ["--manifest", str(tmp_path / "no"), "--data_dir", str(tmp_path)]),
    ):
        with pytest.raises(SystemExit):
            main(options)
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_rows_are_written_unescaped(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("u1 schön\n", encoding="utf-8")
    out = tmp_path / "m.jsonl"
    data2jsonl.main(["--data_dir", str(tmp_path), "--manifest", str(out)])
    assert "schön" in out.read_text(encoding="utf-8")
    assert json.loads(out.read_text(encoding="utf-8"))["target"] == "schön"
