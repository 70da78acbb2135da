"""Options that choose a class, on a command line beside a configuration that names another one."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from espnet2.train.class_choices import ClassChoices
from espnet2.utils.nested_dict_action import NestedDictAction

from espnet_psslm.acoustic.base import AcousticModel
from espnet_psslm.acoustic.choice import WHISPER_CTC, acoustic_choice
from espnet_psslm.acoustic.models import ACOUSTIC_MODELS
from espnet_psslm.common.options import options_of


class _Chosen(argparse.Action):
    """A class other than the configuration's takes over those of its options that it knows."""

    def __init__(self, *args: Any, choice: "Choice", **options: Any) -> None:
        super().__init__(*args, **options)
        self.choice = choice

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str,
        option_string: str | None = None,
    ) -> None:
        name, told = self.choice.told(vars(namespace))
        if values != name:
            known = options_of(self.choice.made(self.choice.classes[values]))
            told = {option: value for option, value in told.items() if option in known}
        setattr(namespace, f"{self.dest}_conf", told)
        setattr(namespace, self.dest, values)


class Choice(ClassChoices):
    """ESPnet's options, but that the command line may choose another class than the configuration.

    ``--simulator tasu`` overrides ``simulator: measured`` with its ``error_scale`` in a YAML;
    ESPnet would hand ``error_scale`` to a simulator that has no such thing.
    """

    help_conf = "The keyword arguments for it"

    def told(self, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Name and options in a configuration."""
        return config[self.name], config[f"{self.name}_conf"]

    def made(self, cls: type) -> Callable:
        """What is called with the options."""
        return cls

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            f"--{self.name}",
            action=_Chosen,
            choice=self,
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
            help=self.help_conf,
        )


class AcousticChoice(Choice):
    """Acoustic models are loaded; configurations that are older than the option name them, too."""

    help_conf = (
        "whisper_ctc: train_config and model_file, or packed (the archive of one, or of a bridge); "
        "sensevoice: name (folder or hub id), hub, query_ids, max_duration_s; whisper, a "
        "pretrained encoder without CTC: name (of weights), num_mels, pad_to_30s"
    )

    def __init__(self) -> None:
        super().__init__("acoustic", ACOUSTIC_MODELS, type_check=AcousticModel, default=WHISPER_CTC)

    def told(self, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        return acoustic_choice(config)

    def made(self, cls: type[AcousticModel]) -> Callable:
        """What is called with the options."""
        return cls.load
