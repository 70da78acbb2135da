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
