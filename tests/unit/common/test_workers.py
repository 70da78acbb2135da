"""Work in processes that may be killed."""

import os
import signal
import time

import pytest

from espnet_psslm.common.workers import in_workers


def describe(block: int) -> str:
    return f"had {block}"


def double(block: int) -> int:
    return 2 * block


def die(block: int) -> int:
    if block == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return block


def fail(block: int) -> int:
    raise KeyError(block)


def wait(block: int) -> int:
    if block:
        time.sleep(600)
    raise ValueError("the other one waits")


def test_every_block_comes_once_with_its_number() -> None:
    done = dict(in_workers(double, range(9), nj=2, describe=describe))
    assert done == {number: 2 * number for number in range(9)}
    assert not list(in_workers(double, [], nj=2, describe=describe))


@pytest.mark.parametrize("nj", [1, 2])
def test_a_killed_process_is_noticed_and_what_it_had_is_named(nj: int) -> None:
    with pytest.raises(ValueError, match=r"process that had 3 was killed \(SIGKILL\); .*--nj"):
        list(in_workers(die, range(6), nj=nj, describe=describe))


def test_errors_are_those_of_the_work() -> None:
    with pytest.raises(KeyError):
        list(in_workers(fail, [1], nj=1, describe=describe))


def test_an_error_does_not_wait_for_the_others() -> None:
    with pytest.raises(ValueError, match="the other one waits"):
        list(in_workers(wait, [0, 1], nj=2, describe=describe))
