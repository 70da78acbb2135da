"""Progress: a bar on a terminal, lines with a clock elsewhere."""

import logging
import sys

import pytest

from espnet_psslm import progress
from espnet_psslm.progress import show_progress, track


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes when it is told to."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_now_and_then_and_at_the_end(clock, caplog):
    caplog.set_level(logging.INFO)
    with show_progress(100, "dump") as count:
        for rows in (10, 10, 20, 60):
            clock[0] += 20.0
            count(rows)
    assert caplog.messages == [
        "dump: 20 of 100 rows, 2 minutes and 40 seconds left",
        "dump: 100 of 100 rows",
    ]


def test_a_terminal_gets_a_bar(capsys, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with show_progress(4, "dump") as count:
        count(3)
        count(1)
    shown = capsys.readouterr().err
    assert "dump: 100%" in shown and "4/4" in shown and " rows/s" in shown
    assert not caplog.messages


def test_items_pass_through(clock, caplog):
    caplog.set_level(logging.INFO)
    assert list(track(iter("abc"), 3, "align", units="batches")) == list("abc")
    assert caplog.messages == ["align: 3 of 3 batches"]
