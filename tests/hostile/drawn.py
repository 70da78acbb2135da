"""Properties of drawn inputs: a few by default, many in the long suite, the same in each run."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = [pytest.param(12, id="few"), pytest.param(100, id="many", marks=pytest.mark.long)]
LIMIT_MB = 512  # far more than a reader of small files needs

# UTF-8 can write these, and a line feed ends a line wherever it stands.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=20)


def for_all(examples: int, **drawn: st.SearchStrategy) -> Callable[[Callable[..., None]], None]:
    """Call the decorated check, at once, with drawn values.

    Args:
        examples: how many.
        drawn: what each argument is drawn from.
    """
    setting = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    return lambda check: setting(given(**drawn)(check))()


@st.composite
def damaged(draw: st.DrawFn, whole: list[bytes]) -> bytes:
    """One of the inputs, with up to four places overwritten, left out or filled, or cut."""
    data = draw(st.sampled_from(whole))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        new = draw(st.binary(max_size=8) | st.sampled_from([bytes(4), b"\xff" * 4, b"\x7f\xff"]))
        left_out = draw(st.sampled_from([len(new), 0, 1, 64]))
        data = data[:place] + new + data[place + left_out :]
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


@contextmanager
def limited_memory() -> Iterator[None]:
    """Whoever asks for much more memory gets none."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    old = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * os.sysconf("SC_PAGE_SIZE") + LIMIT_MB * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)


def read_or_refused(read: Callable[[], Any], path: Path) -> Any:
    """What a reader gives; None where it refuses, which it says in one line that names the file.

    Args:
        read: reads the file, of few bytes; raises whatever else it raises.
        path: of the file.
    """
    try:
        with limited_memory():
            return read()
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error), error
        return None
