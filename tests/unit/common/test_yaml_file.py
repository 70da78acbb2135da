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


@pytest.mark.parametrize(
    "text", ["!!timestamp x", '!!int ""', "!!bool x", "2001-99-99", "!!float a"]
)
def test_values_that_do_not_fit_their_tag(tmp_path, text):
    """Of these PyYAML raises AttributeError, IndexError, KeyError, ValueError."""
    path = tmp_path / "a.yaml"
    path.write_text(f"a: {text}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{path}: ") as error:
        read_yaml(path)
    assert "\n" not in str(error.value)


def test_aliases_that_swell(tmp_path):
    """Each line is ten of the line before: a billion values in 200 bytes."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)]
    path = tmp_path / "a.yaml"
    path.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{path}: aliases .* stand for over 1000000 values"):
        read_yaml(path)
    path.write_text("".join(lines[:3]), encoding="utf-8")
    assert len(read_yaml(path)["a2"][0][0]) == 10


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a\n  b: [*a]\n", "&a {*a : 1}"])
def test_an_alias_of_what_it_stands_in(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{path}: an alias"):
        read_yaml(path)
