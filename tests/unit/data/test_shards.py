"""Blocks of bytes: every line once, wherever the blocks are cut."""

import pytest

from espnet_psslm.data.shards import Shards, find_shards

LINES = [b"one", b"", b"a line that is longer than a block", b"\xc3\xb6\xe4\xbd\xa0", b"x", b"last"]


def write(folder, name, lines, *, end=b"\n"):
    path = folder / name
    path.write_bytes(b"\n".join(lines) + end)
    return path


@pytest.mark.parametrize("end", [b"\n", b""])
@pytest.mark.parametrize("block_bytes", [1, 2, 3, 4, 5, 7, 11, 16, 1000])
def test_every_line_is_in_one_block(tmp_path, block_bytes, end):
    paths = [write(tmp_path, "a.jsonl", LINES, end=end), write(tmp_path, "b.jsonl", LINES[::-1])]
    shards = Shards(paths, block_bytes=block_bytes)
    blocks = [shards.read(block) for block in range(len(shards))]
    assert [line for block in blocks for line in block] == LINES + LINES[::-1]
    number = {path: 0 for path in paths}
    for block, lines in enumerate(blocks):
        for ordinal in range(len(lines)):
            path, _ = shards.place(block)
            number[path] += 1
            assert shards.line_number(block, ordinal) == (path, number[path])


def test_empty_files(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    full = write(tmp_path, "full.jsonl", LINES)
    shards = Shards([empty, full, empty], block_bytes=8)
    assert {shards.place(block)[0] for block in range(len(shards))} == {full}
    with pytest.raises(ValueError, match="all 1 files are empty"):
        Shards([empty])


def test_ways_to_name_shards(tmp_path):
    first, second = (write(tmp_path, name, LINES) for name in ("a.jsonl", "b.jsonl"))
    (tmp_path / "list.txt").write_text("b.jsonl\n\na.jsonl\n")
    assert find_shards(str(tmp_path)) == [first, second]
    assert find_shards(str(tmp_path / "[ab].jsonl")) == [first, second]
    assert find_shards(str(second)) == [second]
    assert find_shards(str(tmp_path / "list.txt")) == [second, first]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere", None, "no such file or folder"),
        ("*.json", None, "no file fits"),
        ("", None, r"has no \*.jsonl"),
        ("list.txt", "", "is empty"),
        ("list.txt", "a.jsonl\n", "a.jsonl is no file"),
        ("list.txt", "list.txt\nlist.txt\n", "listed twice"),
    ],
)
def test_what_names_no_shards(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        find_shards(str(tmp_path / name))
