"""Commands that put out audio."""

import time
from pathlib import Path

import pytest

from espnet_psslm.samples.pipe import run_pipe


def test_output_of_any_size(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(range(256)) * 4096)
    assert run_pipe(f"cat {tmp_path}/big") == (tmp_path / "big").read_bytes()
    assert run_pipe("echo a | tr a b; yes x | head -c 300000 >&2") == b"b\n"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("exit 3", r"failed with status 3 \(no output\)"),
        ("echo why >&2; exit 1", r"failed with status 1 \(why\)"),
        ("true", r"failed with status 0 \(no output\)"),
        ("no_such_program_at_all", "status 127 .*not found"),
    ],
)
def test_failures(command: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        run_pipe(command)


@pytest.mark.parametrize(
    "command", ["sleep 60", "echo a; exec >&-; sleep 60", "sleep 60 & sleep 60"]
)
def test_time_limit_ends_all_that_was_started(tmp_path: Path, command: str) -> None:
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"not finished after 0.2 s; write its output to a file"):
        run_pipe(f"echo $$ > {tmp_path}/pid; {command}", limit_s=0.2)
    assert time.monotonic() - started < 5
    group = (tmp_path / "pid").read_text().strip()
    deadline = time.monotonic() + 5
    while _alive(group) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _alive(group)


def _alive(group: str) -> bool:
    """Whether a process of the group is there that has not ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, owner = path.read_text().rpartition(") ")[2].split()[:3]
        except OSError:  # it has just ended
            continue
        if owner == group and state != "Z":
            return True
    return False


def test_size_limit() -> None:
    with pytest.raises(ValueError, match=r"wrote more than 100000 bytes; write its output to"):
        run_pipe("yes", limit_bytes=100_000)
