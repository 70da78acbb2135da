"""The options ``--simulator`` and ``--simulator_conf``."""

import argparse

from espnet2.train.class_choices import ClassChoices
from espnet2.utils.nested_dict_action import NestedDictAction

from espnet_psslm.bridge.simulate import Simulator
from espnet_psslm.steps.simulators import SIMULATORS


class _Chosen(argparse.Action):
    """A simulator other than the configuration's leaves that one's numbers behind."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str,
        option_string: str | None = None,
    ) -> None:
        if values != namespace.simulator:
            namespace.simulator_conf = {}
        namespace.simulator = values


class SimulatorChoices(ClassChoices):
    """ESPnet's options, but that ``--simulator`` on the command line begins anew.

    ``--simulator tasu`` overrides ``simulator: measured`` with its ``error_scale`` in a YAML;
    ESPnet would hand ``error_scale`` to a simulator that has no such thing.
    """

    def __init__(self) -> None:
        super().__init__("simulator", SIMULATORS, type_check=Simulator, default="tasu")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See ``ClassChoices``."""
        parser.add_argument(
            "--simulator",
            action=_Chosen,
            type=str.lower,
            choices=self.choices(),
            default=self.default,
            help="What a transcript might sound like; where it is not the simulator of the "
            "configuration, the simulator_conf there is not read. To stand before --simulator_conf",
        )
        parser.add_argument(
            "--simulator_conf",
            action=NestedDictAction,
            default={},
            help="The keyword arguments for simulator",
        )
