import json

import pytest

from espnet_psslm.common.json_files import read_json, write_json
from espnet_psslm.score.files import read_references

ROWS = [
    {"key": "u1-ASR", "utt": "u1", "task": "ASR", "target": "play jazz", "seen_template": True},
    {"key": "u1-SLU", "utt": "u1", "task": "SLU", "target": "music", "seen_template": True},
    {"key": "u2-ASR", "utt": "u2", "task": "ASR", "target": "stop", "seen_template": False},
]


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "psslm.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_text_file(tmp_path):
    (tmp_path / "text").write_text("u1 play jazz\nu2\n")
    assert read_references(tmp_path / "text") == {"u1": "play jazz", "u2": ""}


def test_manifest_by_task_key_and_field(manifest):
    assert read_references(manifest, task="ASR") == {"u1-ASR": "play jazz", "u2-ASR": "stop"}
    by_utt = read_references(
        manifest, task="ASR", key_field="utt", where={"seen_template": "false"}
    )
    assert by_utt == {"u2": "stop"}


def test_manifest_problems_name_file_and_line(manifest):
    with pytest.raises(ValueError, match=r"psslm.jsonl:2: utt 'u1' is repeated"):
        read_references(manifest, key_field="utt")
    with pytest.raises(ValueError, match=r"psslm.jsonl:1: no field 'voice'"):
        read_references(manifest, where={"voice": "x"})


def test_text_file_has_no_tasks(tmp_path):
    with pytest.raises(ValueError, match="no manifest"):
        read_references(tmp_path / "text", task="ASR")


def test_write_makes_the_folder(tmp_path):
    write_json(tmp_path / "new" / "score.json", {"rate": 0.5})
    assert read_json(tmp_path / "new" / "score.json") == {"rate": 0.5}
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["score.json"]
