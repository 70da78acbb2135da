"""The YAML file of ``--config``, looked at before ESPnet reads it.

ESPnet's reader names no file where one is no YAML, and takes values of any type, over which what
uses them stumbles later.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from espnet_psslm.common.options import nearest
from espnet_psslm.common.yaml_file import read_mapping

# What is meant by values that ESPnet does not have.
INSTEAD = {
    ("train_dtype", "bfloat16"): (
        ", or set use_amp: true, which computes in bfloat16 where a GPU has it"
    ),
}


def check_config_file(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Refuse a ``--config`` that ESPnet would stumble over.

    Args:
        parser: of the command; one that has no ``--config`` is left alone.
        words: the command line.

    Raises:
        ValueError: naming the file, and the line or the option.
        OSError: if it cannot be read.
    """
    if "--config" not in parser._option_string_actions:
        return
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    path = finder.parse_known_args(list(words))[0].config
    if path is None:
        return
    actions = {action.dest: action for action in parser._actions}
    for name, value in read_mapping(path).items():
        if name not in actions:
            near = nearest(name, actions)
            hint = f"did you mean {near}?" if near else "--help lists the options"
            raise ValueError(f"--config {path}: {name} is no option of this command; {hint}")
        if reason := _unfit(actions[name], value):
            raise ValueError(f"--config {path}: {name}: {value!r} {reason}")


def _unfit(action: argparse.Action, value: Any) -> str | None:
    """Why an option cannot have a value; None where it can, or where ESPnet says so itself."""
    if isinstance(action.default, dict):
        return None if isinstance(value, dict) else "is no section; write 'option: value' below it"
    if action.choices is not None and isinstance(value, str) and value not in action.choices:
        known = f"is unknown; use one of {', '.join(map(str, action.choices))}"
        return f"{known}{INSTEAD.get((action.dest, value), '')}"
    if action.type is None or value is None or isinstance(value, dict):
        return None
    # A list is of an option that may be given more than once, and a list in it of its parts.
    given = value if isinstance(value, list) else [value]
    try:
        for item in given:
            action.type(",".join(map(str, item)) if isinstance(item, list) else str(item))
    except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
        return f"does not fit ({error})"
    return None
