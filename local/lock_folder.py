"""Lock a folder for a shell script, or say in one line who is at work there.

    exec 8<>exp/.psslm.lock
    lock_folder.py --folder exp --pid $$ --command "$0 $*" <&8

The lock belongs to the open file: it lasts as long as the script, and any program that the script
has started, is running. Standard library only.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from espnet_psslm.common.lock import lock_file


def main(cmd: Sequence[str] | None = None) -> None:
    """Lock, or fail."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", required=True)
    parser.add_argument("--pid", type=int, required=True, help="of the script")
    parser.add_argument("--command", required=True, help="of the script")
    args = parser.parse_args(cmd)
    # Closing a copy of the descriptor leaves the script's own, and so the lock.
    with os.fdopen(os.dup(0), "r+", encoding="utf-8") as file:
        try:
            lock_file(file, args.folder, pid=args.pid, command=args.command)
        except ValueError as error:
            sys.exit(f"ERROR: {error}")


if __name__ == "__main__":
    main()
