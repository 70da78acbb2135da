"""File names made of ids."""

import os
from pathlib import Path

import pytest

from espnet_psslm.common.file_names import FILE_NAMES, file_name, write_file_names

PLAIN = ("utt1", "sp0.9-utt_1", "19-198-0001", "a:b=c,d+e", "my file", "höre", "音声", "हिन्दी")
ODD = (
    *("../../x", "/abs/x", "a/b", "a\\b", "..", ".", "", ".hidden", "-rf", "x|", " x", "a\nb"),
    *("a\0b", "\ud800", "a~b", "x" * 151, "é" * 76, "x" * 5000, "\x1b[31m"),
)


@pytest.mark.parametrize("key", PLAIN)
def test_plain_ids_are_their_own_names(key: str) -> None:
    assert file_name(key) == key


@pytest.mark.parametrize("key", ODD)
def test_others_are_one_safe_component(tmp_path: Path, key: str) -> None:
    name = file_name(key)
    assert os.path.basename(name) == name and len(name.encode()) <= 200
    assert name == file_name(key)  # whoever asks, the same
    (tmp_path / f"{name}.flac").touch()
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.flac"]


def test_no_two_ids_share_a_name() -> None:
    keys = {*PLAIN, *ODD, "a_b", "a/b", "a|b", "x" * 152}
    # A name that was made is no plain id: as an id it gets another name.
    keys |= {file_name(key) for key in ODD}
    assert len({file_name(key) for key in keys}) == len(keys)
    assert file_name("a/b").startswith("a_b~")


def test_the_table_names_what_differs(tmp_path: Path) -> None:
    write_file_names(tmp_path, ["plain", "a/b", "x|"])
    rows = dict(line.split("\t") for line in (tmp_path / FILE_NAMES).read_text().splitlines())
    assert rows == {file_name("a/b"): "a/b", file_name("x|"): "x|"}
    write_file_names(tmp_path, ["plain"])
    assert not (tmp_path / FILE_NAMES).exists()
