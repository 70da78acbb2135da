"""Audio that a command writes to its standard output, as Kaldi's ``wav.scp`` may have it."""

import os
import selectors
import signal
import subprocess
import tempfile
import time
from contextlib import suppress

LIMIT_S = 300.0  # seconds that a command may take
LIMIT_BYTES = 2 << 30  # bytes that it may write; three hours of stereo at 48 kHz
CHUNK_BYTES = 1 << 16


def run_pipe(command: str, *, limit_s: float = LIMIT_S, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """Run a command in a shell.

    Whoever calls this has been told that commands may run.

    Args:
        command: without the ``|`` at its end.
        limit_s: seconds after which it is killed, with all that it has started.
        limit_bytes: bytes of output after which it is killed.

    Returns:
        What it wrote to its standard output.

    Raises:
        ValueError: if it failed, wrote nothing, or went over a limit.
    """
    deadline = time.monotonic() + limit_s
    with (
        tempfile.TemporaryFile() as said,  # a second pipe might fill while the first one is read
        subprocess.Popen(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,  # a group of its own, which can be killed as a whole
        ) as process,
    ):
        try:
            output = _read(process.stdout.fileno(), deadline, limit_bytes)
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except BaseException as error:
            # The shell is not waited for yet, so that the number is still that of its group.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, TimeoutError | subprocess.TimeoutExpired):
                raise ValueError(
                    f"not finished after {limit_s:g} s; write its output to a file and name that"
                ) from error
            raise
        said.seek(0)
        lines = said.read().decode(errors="replace").split("\n")
    if status != 0 or not output:
        reason = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
        raise ValueError(f"failed with status {status} ({reason})")
    return output


def _read(descriptor: int, deadline: float, limit_bytes: int) -> bytes:
    """Everything that is written there.

    Raises:
        TimeoutError: if it does not end in time.
        ValueError: if it is too much.
    """
    chunks: list[bytes] = []
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(descriptor, CHUNK_BYTES)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)
            if size > limit_bytes:
                raise ValueError(
                    f"wrote more than {limit_bytes} bytes; write its output to a file and name that"
                )
    raise TimeoutError
