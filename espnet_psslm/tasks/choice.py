"""Options that choose a class, on a command line beside a configuration that names another one."""

import argparse
from collections.abc import Mapping
from typing import Any

from espnet2.train.class_choices import ClassChoices
from espnet2.utils.nested_dict_action import NestedDictAction

from espnet_psslm.common.options import options_of


class _Chosen(argparse.Action):
    """A class other than the configuration's takes over those of its options that it knows."""

    def __init__(self, *args: Any, classes: Mapping[str, type], **options: Any) -> None:
        super().__init__(*args, **options)
        self.classes = classes

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str,
        option_string: str | None = None,
    ) -> None:
        if values != getattr(namespace, self.dest):
            conf, known = f"{self.dest}_conf", options_of(self.classes[values])
            told = getattr(namespace, conf).items()
            setattr(namespace, conf, {name: value for name, value in told if name in known})
        setattr(namespace, self.dest, values)


class Choice(ClassChoices):
    """ESPnet's options, but that the command line may choose another class than the configuration.

    ``--simulator tasu`` overrides ``simulator: measured`` with its ``error_scale`` in a YAML;
    ESPnet would hand ``error_scale`` to a simulator that has no such thing.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See ``ClassChoices``."""
        parser.add_argument(
            f"--{self.name}",
            action=_Chosen,
            classes=self.classes,
            type=str.lower,
            choices=self.choices(),
            default=self.default,
            help=f"The {self.name}; where it is not that of the configuration, options in its "
            f"{self.name}_conf that it lacks are not read. To stand before --{self.name}_conf",
        )
        parser.add_argument(
            f"--{self.name}_conf",
            action=NestedDictAction,
            default={},
            help=f"The keyword arguments for {self.name}",
        )
