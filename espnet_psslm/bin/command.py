"""What all our command lines do alike: options, logging, and an error in one line."""

import argparse
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class _DeviceHelp:
    """auto (NPU if there is one, else GPU, else CPU), cpu, cuda[:n] or npu[:n], the n-th from 0"""


# In a docstring, because device.py alone works with such names, and takes seconds to import.
DEVICE_HELP = _DeviceHelp.__doc__
TRUST_HELP = "true: run code that lies beside the language model's weights; read it before (false)"
MAX_UNPACKED_HELP = (
    "GB that an archive may unpack to, whatever its own size, or a hub's model have (20, and an "
    "archive 100 times its own size)"
)
FROM_DATA_WORKER = re.compile(r"Caught \w+ in DataLoader worker process")


def add_pipe_option(parser: argparse.ArgumentParser) -> None:
    """``--allow_pipes``, of the commands that read a ``wav.scp`` as a user has written it.

    Args:
        parser: of the command.
    """
    parser.add_argument(
        "--allow_pipes",
        choices=("true", "false"),
        default="false",
        help="true: run the sources in wav.scp that end in |, whose output is the audio",
    )


@contextmanager
def command(
    parser: argparse.ArgumentParser, cmd: Sequence[str] | None
) -> Iterator[argparse.Namespace]:
    """Parse options and start logging; what goes wrong inside ends in one line.

    Args:
        parser: of the command.
        cmd: arguments; None reads the command line.

    Raises:
        SystemExit: with code 1 and a message, if the body raises ValueError or OSError: bad input,
            a bad option, a missing file, which a traceback would only hide.
    """
    args = parser.parse_args(cmd)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    with one_line_errors(parser):
        yield args


@contextmanager
def one_line_errors(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Turn ValueError and OSError into exit code 1 and one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        parser.exit(1, f"{Path(parser.prog).stem}: error: {_without_traceback(str(error))}\n")


def _without_traceback(message: str) -> str:
    """What was wrong, where torch has put a data worker's traceback around it.

    Args:
        message: ``Caught ValueError in DataLoader worker process 0.``, a traceback, and in its last
            line ``package.Error: what was wrong``; any other is left as it is.
    """
    if not FROM_DATA_WORKER.match(message):
        return message
    return message.rstrip().splitlines()[-1].partition(": ")[2]
