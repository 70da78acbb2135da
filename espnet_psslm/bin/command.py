"""What all our command lines do alike: options, logging, and an error in one line.

Each has ``get_parser()`` and ``main(cmd)``, where ``cmd`` are the arguments; None reads the command
line.
"""

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from espnet_psslm.common.config_file import check_config_file
from espnet_psslm.common.errors import as_fault, in_words
from espnet_psslm.common.switch import add_switch


class _DeviceHelp:
    """auto (NPU if there is one, else GPU, else CPU), cpu, cuda[:n] or npu[:n], the n-th from 0"""


# In a docstring, because device.py alone works with such names, and takes seconds to import.
DEVICE_HELP = _DeviceHelp.__doc__
MAX_UNPACKED_HELP = (
    "GB that an archive may unpack to, whatever its own size, or a hub's model have (20, and an "
    "archive 100 times its own size)"
)
TRACEBACK_HELP = "show where in the program it was that an error came up"
OF_STEPS = ("step_kind", "reduction", "reduction_conf")  # how a bridge makes them
FAULT = os.EX_SOFTWARE  # exit status where not the input was wrong, but this program
STOPPED = 128 + signal.SIGINT  # as shells have it


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of options.

    Args:
        description: for the help. One of several lines stays as it is; behind one of a single line
            the help also shows defaults.
    """
    if "\n" in (description or ""):
        formatter: type[argparse.HelpFormatter] = argparse.RawDescriptionHelpFormatter
    else:
        formatter = argparse.ArgumentDefaultsHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=formatter)


def add_pipe_option(parser: argparse.ArgumentParser) -> None:
    """``--allow_pipes``, of the commands that read a ``wav.scp`` as a user has written it.

    Args:
        parser: of the command.
    """
    add_switch(
        parser,
        "--allow_pipes",
        help="true: run the sources in wav.scp that end in |, whose output is the audio",
    )


def add_steps_options(parser: argparse.ArgumentParser) -> None:
    """How Steps are made, where it is not as a bridge's configuration says.

    Args:
        parser: of the command.
    """
    for name in OF_STEPS:
        text = "in place of the configuration's; see psslm_train --help"
        parser.add_argument(f"--{name}", action="append", default=[], help=text)


def steps_options(args: argparse.Namespace) -> list[str]:
    """These options, as they were given."""
    given = [(name, value) for name in OF_STEPS for value in getattr(args, name)]
    return [word for name, value in given for word in (f"--{name}", value)]


@contextmanager
def command(
    parser: argparse.ArgumentParser, cmd: Sequence[str] | None
) -> Iterator[argparse.Namespace]:
    """Parse options and start logging; what goes wrong inside ends in one line.

    Args:
        parser: of the command.
        cmd: arguments; None reads the command line.

    Raises:
        SystemExit: see :func:`options`.
    """
    with options(parser, cmd) as args:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
        yield args


@contextmanager
def options(
    parser: argparse.ArgumentParser, cmd: Sequence[str] | None
) -> Iterator[argparse.Namespace]:
    """Parse options, among them ``--traceback``; what goes wrong inside ends in one line.

    Args:
        parser: of the command; of ESPnet's, the file of ``--config`` is looked at, too.
        cmd: arguments; None reads the command line.

    Raises:
        SystemExit: with code 1 and a message for bad input, a bad option or a missing file, which a
            traceback would only hide; with code ``FAULT`` for a fault of ours; with code
            ``STOPPED`` after Ctrl-C.
    """
    parser.add_argument("--traceback", action="store_true", help=TRACEBACK_HELP)
    words = list(sys.argv[1:] if cmd is None else cmd)
    try:
        check_config_file(parser, words)
        args = parser.parse_args(words)
        # No option of the work itself: what is kept of those must not differ by it.
        del args.traceback
        yield args
    except KeyboardInterrupt:
        parser.exit(STOPPED, f"{Path(parser.prog).stem}: stopped\n")
    except Exception as error:
        if "--traceback" in words:
            traceback.print_exception(error)
        said = in_words(error)
        name = Path(parser.prog).stem
        if said is None:
            parser.exit(FAULT, f"{name}: error: {as_fault(error)}\n")
        parser.exit(1, f"{name}: error: {said}\n")
