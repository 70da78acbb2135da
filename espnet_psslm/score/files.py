"""Reading of references, and reading and writing of scores."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_psslm.data.kaldi import read_table, recog_folder
from espnet_psslm.data.manifest import numbered_rows


def read_references(
    path: str | Path,
    *,
    task: str | None = None,
    key_field: str = "key",
    where: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Read references from a manifest (.jsonl) or a text file.

    Args:
        path: manifest with field ``target``, or Kaldi-style text.
        task: keep rows of this task only; needed for manifests that hold several.
        key_field: manifest field that the hypotheses are keyed by, ``key`` or ``utt``.
        where: keep rows only whose fields have these values, written as in JSON
            (``{"seen_template": "false"}``) or as the bare string.

    Returns:
        key -> reference.

    Raises:
        ValueError: naming file, line and field, for a row that cannot be used or repeats a key,
            or if ``task`` or ``where`` was given for a text file.
    """
    if Path(path).suffix != ".jsonl":
        if task is not None or where:
            raise ValueError(f"{path} is no manifest (.jsonl): no task or field to pick by")
        return read_table(path)
    refs: dict[str, str] = {}
    keys: set[str] = set()
    for number, row in numbered_rows(path, seen=keys, heard=False):
        keys.add(row["key"])
        if task is not None and row["task"] != task:
            continue
        needed = [key_field, *(where or {})]
        if lacking := [name for name in needed if name not in row]:
            raise ValueError(f"{path}:{number}: no field {lacking[0]!r}, has {sorted(row)}")
        if any(not _equals(row[name], value) for name, value in (where or {}).items()):
            continue
        if row[key_field] in refs:
            raise ValueError(
                f"{path}:{number}: {key_field} {row[key_field]!r} is repeated; pick one task"
            )
        refs[row[key_field]] = row["target"]
    return refs


def read_answers(folder: str | Path) -> dict[str, str]:
    """Read the best answers of a decoding.

    Args:
        folder: of a set, and of a task where there are several; holds ``1best_recog``.

    Returns:
        key -> answer.

    Raises:
        ValueError: if there are none.
    """
    return read_table(recog_folder(folder) / "text")


def _equals(value: Any, wanted: str) -> bool:
    return value == wanted or json.dumps(value) == wanted
