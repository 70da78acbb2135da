"""Work in processes that may be killed: that is noticed, and what they had is named."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from pebble import ProcessExpired, ProcessPool


def in_workers[Block, Result](
    function: Callable[[Block], Result],
    blocks: Sequence[Block],
    *,
    nj: int,
    describe: Callable[[Block], str],
    prepare: Callable[[], None] | None = None,
) -> Iterator[tuple[int, Result]]:
    """Work on blocks in ``nj`` processes.

    Args:
        function: what a process does with a block.
        blocks: each is given to one process at once.
        nj: processes.
        describe: what the process did that had this block, for an error: ``read a, b``.
        prepare: called in every process before its first block.

    Yields:
        Number of a block and its result, in the order in which they are finished.

    Raises:
        ValueError: if a process is killed. What ``function`` raises is raised, too.
    """
    # fork: what the parent has imported is shared.
    with ProcessPool(nj, initializer=prepare, context=get_context("fork")) as pool:
        work = {pool.schedule(function, args=[block]): at for at, block in enumerate(blocks)}
        try:
            for done in as_completed(work):
                yield work[done], done.result()
        except (ProcessExpired, BrokenProcessPool) as error:
            raise ValueError(
                f"the process that {describe(blocks[work[done]])} was killed ({_reason(error)}); "
                "run the same command again, with fewer processes (--nj) if memory was short"
            ) from error
        finally:
            for task in work:
                task.cancel()


def _reason(error: Exception) -> str:
    code = getattr(error, "exitcode", None)
    if code is None:
        return str(error)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
