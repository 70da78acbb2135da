"""An interpreter that has imported ESPnet already: recipes in tests start it dozens of times.

``with warm_python() as python`` makes a script that takes Python's command line. It hands
working folder, environment, arguments and the three streams to a server, which has imported what
takes seconds, forks, runs the command and answers with the exit status. A command starts as in an
interpreter of its own, but with these modules loaded: the mini recipe's test starts cold ones.
Where the script is killed, the command is killed with all that it has started.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import tqdm.auto

ROOT = Path(__file__).resolve().parent.parent
IMPORTS = (
    "espnet2.tasks.asr",
    "espnet_psslm.tasks.psslm",
    "espnet_psslm.tasks.whisper_ctc",
    "espnet_psslm.inference.decoder",
    "espnet2.main_funcs.pack_funcs",
    "transformers.models.whisper.modeling_whisper",
    "transformers.models.llama.modeling_llama",
)
CLIENT = """#!{python} -S
import json, os, socket, sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    request = json.dumps([os.getcwd(), dict(os.environ), sys.argv[1:]]).encode()
    socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(request)
    answer = server.recv(1)
sys.exit(answer[0] if answer else "warm_python: the server is gone")
"""


@contextmanager
def warm_python() -> Iterator[Path]:
    """Start the server; yields the interpreter."""
    with tempfile.TemporaryDirectory(prefix="warm_") as folder:  # the path of a socket is short
        with _server(Path(folder)) as client:
            yield client


@contextmanager
def _server(folder: Path) -> Iterator[Path]:
    path = folder / "socket"
    client = folder / "python"
    client.write_text(CLIENT.format(python=sys.executable, path=str(path)), encoding="utf-8")
    client.chmod(0o755)
    (folder / "python3").symlink_to(client)
    command = [sys.executable, "-m", "tests.warm_python", str(path)]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
    try:
        assert server.stdout.readline() == b"ready\n", (folder / "log").read_text()
        yield client
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def run(arguments: Sequence[str]) -> int:
    """Run Python's command line: ``-m module``, ``-c code``, ``-`` or a script."""
    kind, *rest = arguments
    try:
        if kind == "-m":
            sys.argv = [rest[0], *rest[1:]]
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif kind in ("-c", "-"):
            code = rest.pop(0) if kind == "-c" else sys.stdin.read()
            sys.argv = [kind, *rest]
            exec(compile(code, kind, "exec"), {"__name__": "__main__"})
        else:
            sys.argv = [kind, *rest]
            sys.path[0] = str(Path(kind).resolve().parent)
            runpy.run_path(kind, run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def answer(client: socket.socket) -> None:
    """Serve one command, in a process of its own."""
    head, streams, *_ = socket.recv_fds(client, 8, 3)
    with client.makefile("rb") as stream:
        request = json.loads(stream.read(int.from_bytes(head, "big")))
    place, environment, arguments = request
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    os.setsid()
    threading.Thread(target=end_with, args=[client], daemon=True).start()
    code = run(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    client.sendall(bytes([code % 256]))
    os._exit(0)


def end_with(client: socket.socket) -> None:
    """Kill this process and what it has started when the script is gone: it says nothing more."""
    client.recv(1)
    os.killpg(0, signal.SIGKILL)


def own_locks() -> None:
    """Give a forked process progress bars of its own.

    tqdm's lock is shared with all that was forked from the same process, and one that was killed
    while it held the lock would stop the others for ever.
    """
    for kind in (tqdm.std.tqdm, tqdm.auto.tqdm):
        kind.set_lock(threading.RLock())


def serve(path: str) -> None:
    """Answer until terminated."""
    for name in IMPORTS:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what ends
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        while True:
            client, _ = server.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                own_locks()
                server.close()
                answer(client)
            client.close()


if __name__ == "__main__":
    serve(sys.argv[1])
