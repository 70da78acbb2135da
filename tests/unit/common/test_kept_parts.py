"""Results that are kept part by part."""

import json

import pytest

from espnet_psslm.common.kept_parts import KeptParts


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new/unfinished.jsonl"


def parts_of(path, belongs_to="a", more=()):
    with KeptParts(path, belongs_to=belongs_to) as kept:
        for part in more:
            kept.add(part)
        return kept.parts


def test_parts_are_there_again(path) -> None:
    assert parts_of(path, more=[{"x": 0.1 + 0.2}, {"x": "ä\n"}]) == []
    assert parts_of(path, more=[{"x": 3}]) == [{"x": 0.1 + 0.2}, {"x": "ä\n"}]
    assert [part["x"] for part in parts_of(path)] == [0.1 + 0.2, "ä\n", 3]


def test_those_of_another_model_are_not_used(path, caplog) -> None:
    parts_of(path, more=[{"x": 1}])
    assert parts_of(path, belongs_to="b", more=[{"x": 2}]) == []
    assert "of another model, data or options, not used" in caplog.text
    assert parts_of(path, belongs_to="b") == [{"x": 2}]


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_part_that_is_half_written_is_not_there(path, cut) -> None:
    parts_of(path, more=[{"x": 1}, {"x": 2}])
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert parts_of(path, more=[{"x": 2}]) == [{"x": 1}]
    assert path.read_bytes() == whole


def test_killed_before_the_first_part(path) -> None:
    parts_of(path)
    header = path.read_bytes()
    for start in (b"", header[:5]):
        path.write_bytes(start)
        assert parts_of(path) == [] and path.read_bytes() == header


def test_a_full_disk_leaves_what_was_there(path) -> None:
    with KeptParts(path, belongs_to="a") as kept:
        kept.add({"x": 1})
        with pytest.raises(OSError, match="No space left"), open("/dev/full", "wb") as full:
            kept.stream, good = full, kept.stream
            kept.add({"x": 2})
        good.close()
    assert parts_of(path) == [{"x": 1}]
    assert json.loads(path.read_text().splitlines()[0]) == {"belongs_to": "a"}


def test_removed_when_all_is_done(path) -> None:
    with KeptParts(path, belongs_to="a") as kept:
        kept.remove()
    assert not path.exists()
