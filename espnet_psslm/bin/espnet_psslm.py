"""The command ``espnet-psslm``: one name for all command lines of the package.

espnet-psslm transcribe a.wav --task EN2DE --model exp/psslm.zip
espnet-psslm score --help
"""

import importlib
import pkgutil
import sys
from collections.abc import Sequence

import espnet_psslm.bin

NO_COMMANDS = ("command", "espnet_psslm")


def names() -> list[str]:
    """Every module of ``espnet_psslm.bin`` with a command line."""
    found = (module.name for module in pkgutil.iter_modules(espnet_psslm.bin.__path__))
    return sorted(name for name in found if name not in NO_COMMANDS)


def main(cmd: Sequence[str] | None = None) -> None:
    """Hand over to the command that is named first."""
    words = list(sys.argv[1:] if cmd is None else cmd)
    usage = f"usage: espnet-psslm COMMAND [options]\n\nCommands: {', '.join(names())}\n"
    if words[:1] in (["--help"], ["-h"]):
        sys.stdout.write(f"{usage}\nespnet-psslm COMMAND --help lists its options.\n")
        return
    if not words or words[0] not in names():
        sys.stderr.write(usage)
        raise SystemExit(2)
    sys.argv[0] = words[0]  # what the command calls itself
    importlib.import_module(f"espnet_psslm.bin.{words[0]}").main(words[1:])


if __name__ == "__main__":
    main()
