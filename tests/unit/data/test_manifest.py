import json
from pathlib import Path

import pytest

from espnet_psslm.common.json_files import write_jsonl
from espnet_psslm.data.manifest import check_manifest, read_manifest

GOOD = {
    "key": "a-ASR",
    "task": "ASR",
    "target": "sch\u00f6n \u4f60\u597d",
    "GT": "x",
    "snr_db": 3.5,
}
TASKS = ("ASR", "SLU_scenario")


def _without(field: str) -> str:
    return json.dumps({name: value for name, value in GOOD.items() if name != field})


def _with(**fields: object) -> str:
    return json.dumps({**GOOD, **fields})


BAD = [
    ("{'key': 1}", "no JSON", "write one object a line"),
    ('{"key": "a"', "no JSON", "write one object a line"),
    ("[1, 2]", "a JSON list", "write one object a line"),
    (_without("key"), "field 'key' is missing", "add 'key'"),
    (_without("task"), r"field 'task' is missing \(key 'a-ASR'\)", "add 'task'"),
    (_without("target"), "field 'target' is missing", "add 'target'"),
    (_without("GT"), "has none of 'path', 'steps', 'GT'", "add 'path'"),
    (_with(target=3), "'target' of key 'a-ASR' is of type int", "a string"),
    (_with(key=3), "'key' of key 3 is of type int", "a string"),
    (_with(path=None), "'path' of key 'a-ASR' is of type NoneType", "a string"),
    (_with(target=" "), "'target' of key 'a-ASR' is empty", "fill 'target'"),
    (_with(key=""), "'key' of key '' is empty", "fill 'key'"),
    (_with(key="a/b"), "key 'a/b' has '/' or white space", "use letters"),
    (_with(key="a b"), "key 'a b' has '/' or white space", "use letters"),
    (_with(key="a\n"), "has '/' or white space", "use letters"),
    (_with(key="first"), "key 'first' was there before", "a key of its own"),
    (_with(task="SLU_scenaro"), "task 'SLU_scenaro' .* unknown", "did you mean 'SLU_scenario'"),
    (_with(task="asr"), "task 'asr' .* unknown", "did you mean 'ASR'"),
    (_with(task="dance"), "task 'dance' .* unknown", "use one of ASR, SLU_scenario"),
]


@pytest.mark.parametrize(("line", "reason", "fix"), BAD)
def test_bad_row(line: str, reason: str, fix: str, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(_with(key="first") + "\n\n" + line + "\n" + _with(key="last") + "\n")
    with pytest.raises(ValueError, match=rf"m\.jsonl:3: .*{reason}.*; .*{fix}") as error:
        read_manifest(path, tasks=TASKS)
    assert "\n" not in str(error.value)
    rows, problems = check_manifest(path, tasks=TASKS)
    assert list(rows) == ["first", "last"]
    assert [str(problem) for problem in problems] == [str(error.value)]


def test_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(_with().encode() + b'\n{"key": "\xff"}\n')
    with pytest.raises(ValueError, match=":2: not UTF-8.*save the file as UTF-8"):
        read_manifest(path)


def test_good_rows_come_back_as_they_are(tmp_path: Path) -> None:
    rows = [GOOD, {"key": "b", "task": "new", "target": "t", "path": "x.ark:12"}]
    write_jsonl(tmp_path / "m.jsonl", rows)
    assert "\u4f60\u597d" in (tmp_path / "m.jsonl").read_text(encoding="utf-8")
    assert list(read_manifest(tmp_path / "m.jsonl").values()) == rows


def test_missing_and_empty(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        check_manifest(tmp_path / "m.jsonl")
    (tmp_path / "m.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="holds no row"):
        read_manifest(tmp_path / "m.jsonl")


def test_path_may_be_left_out_for_steps(tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "m.jsonl", [{"key": "a", "task": "t", "target": "x", "steps": "s.ark:3"}]
    )
    assert list(read_manifest(tmp_path / "m.jsonl")) == ["a"]
