"""YAML files, read without running what is in them."""

import re
from pathlib import Path
from typing import Any

import yaml

from espnet_psslm.common.errors import reading
from espnet_psslm.common.files import check_file

# In Python alone, a file that lists the units of a large vocabulary would take seconds.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DEEPEST = 1000  # levels; some tens of thousands end the process
OPENING = re.compile(r"[\[{]|[-?](?= +[-?] )")  # what a level begins with that costs no indent


def read_yaml(path: str | Path, *, name: str = "") -> Any:
    """Read a YAML file of plain values, in UTF-8.

    Args:
        path: the file.
        name: in messages, in place of its path.

    Raises:
        OSError: if it cannot be read.
        ValueError: naming file and line, if it is no YAML, or holds more than plain values.
    """
    check_file(path, fix="see the option that names it")
    with reading(name or path):
        text = Path(path).read_text(encoding="utf-8")
        _refuse_deep(text)
        return yaml.load(text, Loader=_Loader)


def _refuse_deep(text: str) -> None:
    if sum(1 for _ in OPENING.finditer(text)) < DEEPEST:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise RecursionError


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of names and their values.

    Raises:
        OSError: if it cannot be read.
        ValueError: naming the file, if it is something else.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds no names and values (name: value); see its examples")
    return content
