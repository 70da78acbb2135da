"""A command that must refuse what it is given, and how it must say so."""

from collections.abc import Callable, Iterable, Sequence

import pytest

Main = Callable[[Sequence[str]], object]
EVERY = 4  # of many kinds, one in so many is tried in the short run, too


def sampled(kinds: Iterable[str], *, first: int = 0) -> list[object]:
    """Parameters of a test, most of which are left to the long run.

    Args:
        kinds: names of all.
        first: place of the first that is not, so that several tests share them.
    """
    return [
        kind if (place - first) % EVERY == 0 else pytest.param(kind, marks=pytest.mark.long)
        for place, kind in enumerate(kinds)
    ]


def refusal(main: Main, command: Sequence[str], capsys: pytest.CaptureFixture) -> str:
    """Run a command that must end in exit status 1 and one line of error; return that line.

    It is the only line that is one, the last one, no traceback, and not the line of a fault.
    """
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(list(command))
    said = capsys.readouterr().err
    assert stopped.value.code == 1, said
    assert "Traceback" not in said and "fault of espnet_psslm" not in said, said
    errors = [line for line in said.splitlines() if ": error: " in line]
    assert errors == said.splitlines()[-1:], said
    return errors[0]
