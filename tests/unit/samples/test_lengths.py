from espnet_psslm.samples.lengths import APART, write_lengths
from tests.helpers import write_jsonl


def test_rows_of_one_task_and_of_like_length_are_neighbours(tmp_path):
    rows = [
        {"key": "a", "task": "SLU", "target": "on", "GT": "light on"},
        {"key": "b", "task": "ASR", "target": "light on", "GT": "light on"},
        {"key": "c", "task": "ASR", "target": "off", "GT": "off"},
        {"key": "d", "task": "ASR", "target": "heard", "path": "d.wav"},
    ]
    path = write_lengths(write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "lengths")
    found = dict(line.split() for line in path.read_text().splitlines())
    assert found == {"a": str(APART + 10), "b": "16", "c": "6", "d": "5"}
    assert sorted(found, key=lambda key: int(found[key])) == ["d", "c", "b", "a"]
