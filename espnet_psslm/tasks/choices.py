"""Options that choose a class, and begin anew where another one is chosen."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from espnet2.train.class_choices import ClassChoices
from espnet2.utils.nested_dict_action import NestedDictAction

Read = Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]


class _Chosen(argparse.Action):
    """A choice other than the configuration's leaves that one's numbers behind."""

    def __init__(self, *args: Any, read: Read, **options: Any) -> None:
        super().__init__(*args, **options)
        self.read = read

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str,
        option_string: str | None = None,
    ) -> None:
        name, conf = self.read(vars(namespace))
        setattr(namespace, f"{self.dest}_conf", conf if name == values else {})
        setattr(namespace, self.dest, values)


class AnewChoices(ClassChoices):
    """ESPnet's options, but that ``--NAME`` on the command line begins anew.

    ``--simulator tasu`` overrides ``simulator: measured`` with its ``error_scale`` in a YAML;
    ESPnet would hand ``error_scale`` to a simulator that has no such thing.

    Args:
        name: of the option.
        classes: name -> class.
        type_check: what all of them are.
        default: name.
        what: the help of ``--NAME``.
        what_conf: the help of ``--NAME_conf``.
        read: name and options that a configuration says; None: as it has them.
    """

    def __init__(
        self,
        name: str,
        classes: Mapping[str, type],
        *,
        type_check: type,
        default: str,
        what: str,
        what_conf: str,
        read: Read | None = None,
    ) -> None:
        super().__init__(name, classes, type_check=type_check, default=default)
        self.help, self.help_conf = what, what_conf
        self.read = read or (lambda config: (config[name], config[f"{name}_conf"]))

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See ``ClassChoices``."""
        parser.add_argument(
            f"--{self.name}",
            action=_Chosen,
            read=self.read,
            type=str.lower,
            choices=self.choices(),
            default=self.default,
            help=f"{self.help}; where it is not the {self.name} of the configuration, the "
            f"{self.name}_conf there is not read. To stand before --{self.name}_conf",
        )
        parser.add_argument(
            f"--{self.name}_conf", action=NestedDictAction, default={}, help=self.help_conf
        )
