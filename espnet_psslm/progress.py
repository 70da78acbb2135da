"""How far a command is, and how long it will take: a bar on a terminal, lines in a log."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from humanfriendly import format_timespan
from tqdm import tqdm

LOG_EVERY_S = 30.0


@contextmanager
def show_progress(
    total: int, name: str, *, units: str = "rows"
) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal, now and then a line elsewhere.

    Args:
        total: how many there are.
        name: of what is done.
        units: of the count, in the plural.

    Yields:
        What is called with the number done since its last call.
    """
    if sys.stderr.isatty():
        with tqdm(total=total, desc=name, unit=f" {units}", mininterval=1.0) as bar:
            yield bar.update
        return
    done, start = 0, time.monotonic()
    said = start

    def count(more: int) -> None:
        nonlocal done, said
        done += more
        now = time.monotonic()
        if done >= total:
            logging.info("%s: %d of %d %s", name, done, total, units)
        elif done and now - said > LOG_EVERY_S:
            said = now
            left = format_timespan(round((now - start) / done * (total - done)))
            logging.info("%s: %d of %d %s, %s left", name, done, total, units, left)

    yield count


def track[T](items: Iterable[T], total: int, name: str, *, units: str) -> Iterator[T]:
    """Items, one after the other, with progress shown.

    Args:
        items: any.
        total: how many there are.
        name: of what is done with them.
        units: what they are, in the plural.
    """
    with show_progress(total, name, units=units) as count:
        for item in items:
            yield item
            count(1)
