"""How far a command is: a bar on a terminal, lines in a log."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOG_EVERY_S = 30.0


@contextmanager
def show_progress(total: int, name: str) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal, now and then a line elsewhere; yields what counts rows."""
    from tqdm import tqdm

    if sys.stderr.isatty():
        with tqdm(total=total, desc=name, unit="row") as bar:
            yield bar.update
        return
    done, said = 0, time.monotonic()

    def count(rows: int) -> None:
        nonlocal done, said
        done += rows
        if done == total or time.monotonic() - said > LOG_EVERY_S:
            said = time.monotonic()
            logging.info("%s: %d of %d rows", name, done, total)

    yield count
