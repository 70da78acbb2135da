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
MOST_REPEATED = 1_000_000  # values that aliases stand for
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
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if "*" in text:
                _refuse_swelling(node)
            return None if node is None else _value_of(node, loader)
        finally:
            loader.dispose()


def _refuse_deep(text: str) -> None:
    if sum(1 for _ in OPENING.finditer(text)) < DEEPEST:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise RecursionError


def _refuse_swelling(node: yaml.Node | None) -> None:
    """Aliases (*name) of aliases make a few lines swell to more values than memory holds."""
    sizes: dict[int, int | None] = {}  # of each node, its aliases written out; None: not known yet

    def size(node: yaml.Node | None) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = None
            held = node.value if isinstance(node, yaml.CollectionNode) else []
            pairs = isinstance(node, yaml.MappingNode)
            sizes[id(node)] = 1 + sum(
                size(item) for part in held for item in (part if pairs else [part])
            )
        if sizes[id(node)] is None:
            raise ValueError("an alias (*) of what it stands in; write it out")
        return sizes[id(node)]

    if size(node) - len(sizes) > MOST_REPEATED:
        raise ValueError(f"aliases (*) stand for over {MOST_REPEATED} values; write them out")


def _value_of(node: yaml.Node, loader: yaml.SafeLoader) -> Any:
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise
    except Exception as error:  # of a value that its tag does not fit PyYAML raises anything
        raise ValueError(
            f"a value that does not fit its tag (!!): {type(error).__name__}"
        ) from error


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


LINE_ENDS = frozenset("\x85\u2028\u2029")


class _Dumper(yaml.SafeDumper):
    """Writes each string so that it is read as it was."""


def _as_string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Unquoted, PyYAML writes these as they are and reads them as ends of lines.
    style = '"' if LINE_ENDS & set(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _as_string)


def dump_yaml(value: Any) -> str:
    """Write plain values as YAML, in their order and with characters as they are.

    Args:
        value: dictionaries, lists, strings, numbers, None.

    Returns:
        What :func:`read_yaml` reads as the same value.
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
