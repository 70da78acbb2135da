"""YAML files, read without running what is in them."""

from pathlib import Path
from typing import Any

import yaml

# In Python alone, a file that lists the units of a large vocabulary would take seconds.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file of plain values, in UTF-8.

    Raises:
        OSError: if it cannot be read.
        yaml.YAMLError: if it is no YAML, or holds more than plain values.
    """
    return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)


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
