"""Manifests, tables and YAML files with drawn content: read as a plain reader does, or refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from espnet_psslm.common.file_names import file_name
from espnet_psslm.common.json_files import read_objects, write_jsonl
from espnet_psslm.common.kept_parts import KeptParts
from espnet_psslm.common.lines import read_lines
from espnet_psslm.common.yaml_file import dump_yaml, read_yaml
from espnet_psslm.data.kaldi import read_table, write_table
from espnet_psslm.data.manifest import Row, check_manifest, read_manifest
from espnet_psslm.samples.segments import SEGMENTS, Part, read_sources
from tests.hostile.drawn import EXAMPLES, TEXTS, damaged, for_all, read_or_refused

pytestmark = pytest.mark.parametrize("examples", EXAMPLES)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=8)
KEYS = WORDS.filter(lambda key: "/" not in key)
FILLED = TEXTS.filter(lambda text: text.strip() != "")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.fixed_dictionaries(
    {"key": KEYS, "task": st.sampled_from(["ASR", "EN2DE"]), "target": FILLED, "GT": FILLED},
    optional={"more": VALUES},
)
ODD_LINES = [
    *(
        b"[" * 100_000,
        b'{"a": ' * 100_000,
        b'{"key": ' + b"9" * 5000 + b"}",
        b'"',
        b"\xef\xbb\xbf{}",
    ),
    *(b"null", b"{}", b"\xff\xfe{", b"\xed\xa0\x80", b'{"key": "\\ud800"}', b"NaN", b"   ", b"\r"),
]


def as_line(row: Row, *, ascii_only: bool = False) -> bytes:
    return json.dumps(row, ensure_ascii=ascii_only).encode()


@st.composite
def manifest_lines(draw: st.DrawFn) -> list[bytes]:
    """Good lines, damaged ones, and such as no manifest has."""
    good = [
        as_line(row, ascii_only=draw(st.booleans())) for row in draw(st.lists(ROWS, max_size=3))
    ]
    bad = st.sampled_from(ODD_LINES) | st.binary(max_size=20)
    lines = (
        good
        + draw(st.lists(damaged(good) if good else bad, max_size=2))
        + draw(st.lists(bad, max_size=2))
    )
    return [part for line in draw(st.permutations(lines)) for part in line.split(b"\n")]


def plainly(line: bytes, number: int) -> Any:
    """What Python alone takes a line for; None if it cannot."""
    try:
        return json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except (ValueError, RecursionError):
        return None


def test_manifests(tmp_path: Path, examples: int) -> None:
    """Each line is a row as it stands there, or a problem that says where it is."""
    path = tmp_path / "a.jsonl"

    @for_all(examples, lines=manifest_lines())
    def check(lines: list[bytes]) -> None:
        path.write_bytes(b"\n".join(lines))
        rows, problems = check_manifest(path)
        for problem in problems:
            said = str(problem)
            assert said.startswith(f"{path}:{problem.line}: ") and "\n" not in said
        bad = {problem.line for problem in problems}
        good = [(n, line) for n, line in enumerate(lines, 1) if n not in bad and line.strip()]
        assert list(rows.values()) == [plainly(line, number) for number, line in good]
        assert list(rows) == [row["key"] for row in rows.values()]


def test_good_rows_come_back(tmp_path: Path, examples: int) -> None:
    @for_all(examples, rows=st.lists(ROWS, min_size=1, max_size=4, unique_by=lambda r: r["key"]))
    def check(rows: list[Row]) -> None:
        write_jsonl(tmp_path / "a.jsonl", rows)
        assert list(read_manifest(tmp_path / "a.jsonl").values()) == rows
        # Escaped, with a byte order mark and Windows' ends of lines, they are the same rows.
        escaped = [as_line(row, ascii_only=True) for row in rows]
        (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n\r\n".join(escaped))
        assert list(read_manifest(tmp_path / "a.jsonl").values()) == rows


def test_json_lines(tmp_path: Path, examples: int) -> None:
    path = tmp_path / "a.jsonl"

    @for_all(examples, lines=manifest_lines())
    def check(lines: list[bytes]) -> None:
        path.write_bytes(b"\n".join(lines))
        found = read_or_refused(lambda: list(read_objects(path)), path)
        objects = [(n, plainly(line, n)) for n, line in enumerate(lines, 1)]
        filled = [(n, row) for n, row in objects if lines[n - 1].strip()]
        if found is not None:
            assert found == filled
        else:
            assert any(not isinstance(row, dict) or has_half(row) for _, row in filled)


def has_half(value: Any) -> bool:
    """Whether there is half of a character, which no UTF-8 file can hold."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def test_lines(tmp_path: Path, examples: int) -> None:
    """Joined by line feeds, the lines are the file."""
    path = tmp_path / "a"

    @for_all(examples, data=st.binary(max_size=40) | TEXTS.map(str.encode))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        found = read_or_refused(lambda: [line for _, line in read_lines(path)], path)
        try:
            text = data.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError:
            assert found is None
        else:
            wanted = [line.rstrip("\r") for line in text.split("\n")]
            assert found == (wanted if wanted[-1] or text.endswith("\r") else wanted[:-1])


def test_tables_come_back(tmp_path: Path, examples: int) -> None:
    """But for white space around a value, which a table does not keep."""
    values = TEXTS.map(lambda text: text.replace("\r", "").strip())

    @for_all(examples, table=st.dictionaries(WORDS, values, max_size=5))
    def check(table: dict[str, str]) -> None:
        write_table(tmp_path / "text", table)
        assert read_table(tmp_path / "text") == table


@pytest.mark.parametrize("read", [read_table, read_sources])
def test_damaged_tables(tmp_path: Path, examples: int, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "wav.scp"
    whole = [b"utt0 a.wav\nutt1 b.flac#t=1,2\n\nutt2 cat x |\n", "ü 中文.wav\r\n".encode()]

    @for_all(examples, data=damaged(whole))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        table = read_or_refused(lambda: read(path), path)
        if table is not None:
            lines = data.decode("utf-8").removeprefix("\ufeff").split("\n")
            words = [line.split(maxsplit=1) for line in lines if line.strip()]
            wanted = {key: value[0].rstrip() if value else "" for key, *value in words}
            assert table == wanted and len(table) == len(words)


SECONDS = st.integers(0, 10**6).map(lambda number: number / 1000)


def test_segments(tmp_path: Path, examples: int) -> None:
    """Each line is a part with these times, or refused."""
    (tmp_path / "wav.scp").write_text("rec /x/y.wav\n", encoding="utf-8")
    path = tmp_path / SEGMENTS

    @for_all(
        examples, utts=st.dictionaries(WORDS, st.tuples(SECONDS, SECONDS), min_size=1, max_size=4)
    )
    def check(utts: dict[str, tuple[float, float]]) -> None:
        lines = [f"{utt} rec {start:g} {end:g}\n" for utt, (start, end) in utts.items()]
        path.write_text("".join(lines), encoding="utf-8")
        found = read_or_refused(lambda: read_sources(tmp_path / "wav.scp"), path)
        times = {utt: tuple(float(f"{time:g}") for time in both) for utt, both in utts.items()}
        if found is None:
            assert any(start >= end for start, end in times.values())
        else:
            assert {utt: Part.of(source) for utt, source in found.items()} == {
                utt: Part("/x/y.wav", *both) for utt, both in times.items()
            }


def test_damaged_segments(tmp_path: Path, examples: int) -> None:
    (tmp_path / "wav.scp").write_text("rec /x/y.wav\n", encoding="utf-8")
    path = tmp_path / SEGMENTS

    @for_all(examples, data=damaged([b"utt0 rec 0.5 1.5\nutt1 rec 1e1 -1\nutt2 rec 3 4.25\n"]))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        sources = read_or_refused(lambda: read_sources(tmp_path / "wav.scp"), path)
        for source in (sources or {}).values():
            part = Part.of(source)
            assert part.source == "/x/y.wav" and (part.end_s is None or part.start_s < part.end_s)


def test_file_names(examples: int) -> None:
    """One component of a path, and one id's alone."""
    keys = st.text(max_size=30) | st.sampled_from(["", ".", "..", "../x", "a/b", "a~b", "x" * 500])

    @for_all(examples, keys=st.lists(keys, unique=True, max_size=4))
    def check(keys: list[str]) -> None:
        names = [file_name(key) for key in keys]
        assert len(set(names)) == len(keys)
        for name in names:
            assert name not in ("", ".", "..") and not set(name) & set("/\\\0\n")
            assert len(name.encode()) <= 200


def test_kept_parts(tmp_path: Path, examples: int) -> None:
    """What is cut anywhere goes on behind the last whole part."""
    path = tmp_path / "parts"
    parts = st.lists(st.dictionaries(TEXTS, VALUES, max_size=2), max_size=4)

    @for_all(examples, parts=parts, cut=st.integers(0, 60), more=parts)
    def check(parts: list[dict], cut: int, more: list[dict]) -> None:
        path.unlink(missing_ok=True)
        with KeptParts(path, belongs_to="a") as kept:
            for part in parts:
                kept.add(part)
        whole = path.read_bytes()
        path.write_bytes(whole[: max(0, len(whole) - cut)])
        with KeptParts(path, belongs_to="a") as kept:
            left = list(kept.parts)
            assert left == parts[: len(left)] and (cut or left == parts)
            for part in more:
                kept.add(part)
        with KeptParts(path, belongs_to="a") as kept:
            assert kept.parts == left + more


PIECES = st.sampled_from(
    [
        *(
            "a: ",
            "b:\n  - ",
            "- ",
            "\n",
            "  ",
            "\t",
            "[",
            "]",
            "{",
            "}",
            ", ",
            ": ",
            "? ",
            "|\n ",
            ">-\n ",
        ),
        *(
            "&x ",
            "*x",
            "<<: ",
            "!!int ",
            "!!float ",
            "!!timestamp ",
            "!!bool ",
            "!!binary ",
            "!!set ",
        ),
        *(
            "!!python/object/apply:os.system ",
            "!x ",
            "2001-99-99",
            "2001-01-01T25:00:00",
            "0b_",
            "0x",
        ),
        *(
            "1:99:99",
            "1e999",
            ".nan",
            "~",
            "'",
            '"',
            "\\x",
            "\\ud800",
            "#",
            "---\n",
            "...\n",
            "%YAML 9\n",
        ),
        *(
            "\x85",
            "\u2028",
            "\ufeff",
            "\x00",
            "é",
            "y",
            "null",
            "=",
            "-",
            "@",
            "`",
            "[" * 30_000,
            "1" * 5000,
        ),
    ]
)


def test_yaml(tmp_path: Path, examples: int) -> None:
    """Read as PyYAML's own reader does, which is in Python; or refused."""
    path = tmp_path / "a.yaml"

    @for_all(examples, pieces=st.lists(PIECES, max_size=12), data=st.none() | st.binary(max_size=9))
    def check(pieces: list[str], data: bytes | None) -> None:
        path.write_bytes("".join(pieces).encode() if data is None else data)
        found = read_or_refused(lambda: [read_yaml(path)], path)
        try:
            wanted = [yaml.safe_load(path.read_text(encoding="utf-8"))]
        except Exception:  # PyYAML raises anything
            assert found is None
        else:
            assert found is None or repr(found) == repr(wanted)


def test_yaml_comes_back(tmp_path: Path, examples: int) -> None:
    @for_all(examples, value=VALUES)
    def check(value: Any) -> None:
        (tmp_path / "a.yaml").write_text(dump_yaml(value), encoding="utf-8")
        assert read_yaml(tmp_path / "a.yaml") == value
