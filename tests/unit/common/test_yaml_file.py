"""YAML as it is written and read again."""

import pytest

from espnet_psslm.common.yaml_file import dump_yaml, read_yaml


@pytest.mark.parametrize(
    "text", ["\x85", "a\x85b", "\u2028", "a\u2028b\u2029", "\x85'\"", "née 中", ""]
)
def test_strings_come_back_as_they_were(tmp_path, text):
    """PyYAML's own writer makes a blank of U+0085, which is a unit where texts have it."""
    value = {"z": [text], text: "a"}
    (tmp_path / "a.yaml").write_text(dump_yaml(value), encoding="utf-8")
    found = read_yaml(tmp_path / "a.yaml")
    assert found == value and list(found) == list(value)


def test_written_as_people_read_it():
    assert dump_yaml({"b": "née 中", "a": [1]}) == "b: née 中\na:\n- 1\n"
