"""Options that are true or false, on a command line and in a YAML file alike."""

import argparse

TRUST_HELP = "true: run code that lies beside the language model's weights; read it before (false)"


def add_switch(
    parser: argparse._ActionsContainer, name: str, *, help: str, default: str = "false"
) -> None:
    """Add an option whose value is a bool.

    Args:
        parser: of the command.
        name: with its dashes.
        help: what it does.
        default: ``true`` or ``false``.
    """
    parser.add_argument(name, type=_truth, default=default, metavar="{true,false}", help=help)


def add_trust(parser: argparse._ActionsContainer) -> None:
    """Add ``--trust_remote_code``."""
    add_switch(parser, "--trust_remote_code", help=TRUST_HELP)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):  # YAML's own are written True and False
        raise argparse.ArgumentTypeError(f"{text!r}: use true or false")
    return text.lower() == "true"
