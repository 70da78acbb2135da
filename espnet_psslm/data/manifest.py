"""The manifest: JSON Lines, one sample a line.

Fields: ``key`` (unique, no "/", no white space), ``task``, ``target`` (what the model must
produce), and one of ``path`` (audio), ``steps`` (dumped Steps) or ``GT`` (a transcript that the
posterior is simulated from). Others are carried along.

A relative path that is not found from the working folder is looked for beside the manifest.

A manifest may have millions of rows: one pass, plain dicts, nothing built per row but the row.
"""

import difflib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_psslm.common.errors import in_words
from espnet_psslm.common.files import check_file
from espnet_psslm.common.json_files import parse_json
from espnet_psslm.samples.segments import find_beside

Row = dict[str, Any]
REQUIRED = ("key", "task", "target")
TEXTS = (*REQUIRED, "path", "steps", "GT")


@dataclass(frozen=True)
class Problem:
    """One row that cannot be used."""

    file: str
    line: int  # counted from 1
    key: str  # "" where the row has none
    reason: str  # what arrived
    fix: str  # what to do

    def __str__(self) -> str:
        """One line, ``FILE:LINE: what arrived; what to do``."""
        return f"{self.file}:{self.line}: {self.reason}; {self.fix}"


def read_manifest(path: str | Path, *, tasks: Collection[str] | None = None) -> dict[str, Row]:
    """Read a manifest, strictly.

    Args:
        path: JSON Lines file.
        tasks: known tasks; None admits any.

    Returns:
        Rows by key, in the file's order.

    Raises:
        ValueError: at the first row that cannot be used, or if the file is missing or empty.
    """
    rows: dict[str, Row] = {}
    for _, row in numbered_rows(path, seen=rows, tasks=tasks):
        rows[row["key"]] = row
    if not rows:
        raise ValueError(f"{path}: holds no row; run the stage that makes it again")
    return rows


def numbered_rows(
    path: str | Path,
    *,
    seen: Collection[str] = (),
    tasks: Collection[str] | None = None,
    heard: bool = True,
) -> Iterator[tuple[int, Row]]:
    """Read a manifest row by row, strictly.

    Args:
        path: JSON Lines file.
        seen: keys that are taken; the caller may add to them on the way.
        tasks: known tasks; None admits any.
        heard: whether rows need speech or a transcript; references do not.

    Yields:
        Line number and row.

    Raises:
        ValueError: at the first row that cannot be used, or if the file is missing.
    """
    for number, row, problem in _scan(path, seen, tasks, heard=heard):
        if problem is not None:
            raise ValueError(str(problem))
        yield number, row


def check_manifest(
    path: str | Path, *, tasks: Collection[str] | None = None
) -> tuple[dict[str, Row], list[Problem]]:
    """Read a manifest and collect its problems.

    Args:
        path: JSON Lines file.
        tasks: known tasks; None admits any.

    Returns:
        The rows that can be used, by key, and one Problem for each of the others. Of rows with
        one key the first is kept.

    Raises:
        ValueError: if the file is missing.
    """
    rows: dict[str, Row] = {}
    problems: list[Problem] = []
    for _, row, problem in _scan(path, rows, tasks):
        if problem is None:
            rows[row["key"]] = row
        else:
            problems.append(problem)
    return rows, problems


def _scan(
    path: str | Path,
    seen: Collection[str],
    tasks: Collection[str] | None,
    *,
    heard: bool = True,
) -> Iterator[tuple[int, Row, Problem | None]]:
    """Yield number, row and problem of each line; ``seen``: keys that the caller has taken."""
    path = Path(path)
    check_file(path, option="manifest", fix="run the stage that makes it")
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            row, fault = parse_line(line, seen=seen, tasks=tasks, heard=heard)
            if fault is None:
                if "path" in row:
                    row["path"] = find_beside(row["path"], path.parent)
                yield number, row, None
            else:
                key = row.get("key", "")
                key = key if isinstance(key, str) else ""
                yield number, row, Problem(str(path), number, key, *fault)


def parse_line(
    line: bytes,
    *,
    seen: Collection[str] = (),
    tasks: Collection[str] | None = None,
    heard: bool = True,
) -> tuple[Row, tuple[str, str] | None]:
    """Read and check one line.

    Args:
        line: of a manifest.
        seen: keys that are taken.
        tasks: known tasks; None admits any.
        heard: whether it needs speech or a transcript.

    Returns:
        The row, and what is wrong with it: None, or (reason, fix) of a :class:`Problem`.
    """
    row, fault = _parse(line)
    return row, fault or _check_row(row, seen, tasks, heard=heard)


def _parse(line: bytes) -> tuple[Row, tuple[str, str] | None]:
    """One line to a row, or to an empty row and (reason, fix)."""
    try:
        row = parse_json(line)
    except UnicodeDecodeError as error:
        return {}, (f"not UTF-8 (byte {error.start})", "save the file as UTF-8")
    except json.JSONDecodeError as error:
        text = line.decode("utf-8", errors="replace").strip()
        shown = text if len(text) <= 60 else text[:57] + "..."
        return {}, (
            f"no JSON ({error.msg} at column {error.colno}): {shown}",
            'write one object a line, as {"key": ..., "task": ..., "target": ...}',
        )
    except ValueError as error:
        return {}, (in_words(error), "write the row again")
    if not isinstance(row, dict):
        return {}, (
            f"a JSON {type(row).__name__} in place of an object",
            'write one object a line, as {"key": ..., "task": ..., "target": ...}',
        )
    return row, None


def _check_row(
    row: Row, seen: Collection[str], tasks: Collection[str] | None, *, heard: bool
) -> tuple[str, str] | None:
    """(reason, fix) of a row that cannot be used, else None."""
    for field in REQUIRED:
        if field not in row:
            name = f" (key {row['key']!r})" if "key" in row else ""
            return f"field {field!r} is missing{name}", f"add {field!r}"
    key = row["key"]
    for field in TEXTS:
        if field not in row:
            continue
        if not isinstance(value := row[field], str):
            kind = type(value).__name__
            return f"{field!r} of key {key!r} is of type {kind}", f"make {field!r} a string"
        if not value or value.isspace():
            return f"{field!r} of key {key!r} is empty", f"fill {field!r} or remove the row"
    if heard and not ("GT" in row or "path" in row or "steps" in row):
        return (
            f"key {key!r} has none of 'path', 'steps', 'GT'",
            "add 'path' (audio) or 'GT' (transcript, for training from text)",
        )
    if "/" in key or key.split() != [key]:
        return f"key {key!r} has '/' or white space", "use letters, digits, '-', '_' and '.'"
    # Answers to a task go to a folder of its name.
    if "/" in row["task"] or row["task"].startswith("."):
        return (
            f"task {row['task']!r} of key {key!r} has '/', or begins with '.'",
            "use letters, digits, '-' and '_'",
        )
    if key in seen:
        return f"key {key!r} was there before", "give every row a key of its own"
    if tasks is not None and row["task"] not in tasks:
        return _unknown_task(row["task"], key, tasks)
    return None


def _unknown_task(task: str, key: str, tasks: Collection[str]) -> tuple[str, str]:
    """(reason, fix) for a task that no prompt is written for."""
    by_lower = {name.lower(): name for name in tasks}
    near = difflib.get_close_matches(task.lower(), list(by_lower), n=1)
    if near:
        fix = f"did you mean {by_lower[near[0]]!r}? (known: {', '.join(sorted(tasks))})"
    else:
        fix = f"use one of {', '.join(sorted(tasks))}, or add a prompt for it to the prompt file"
    return f"task {task!r} of key {key!r} is unknown", fix
