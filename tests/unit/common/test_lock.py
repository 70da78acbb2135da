"""One run at a time in a folder; nothing stale is left."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espnet_psslm.common.lock import NAME, folder_lock

ROOT = Path(__file__).resolve().parents[3]
HOLDER = """
import sys, time
from espnet_psslm.common.lock import folder_lock
with folder_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_in_one_line(tmp_path, holder):
    with pytest.raises(ValueError, match="is at work there; wait") as error, folder_lock(tmp_path):
        pass
    said = str(error.value)
    assert said.startswith(f"{tmp_path}: process {holder.pid} on {socket.gethostname()} (-c")
    assert "\n" not in said


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_process_however_that_ends(tmp_path, holder, how):
    holder.send_signal(how)
    holder.wait()
    with folder_lock(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize(
    "left",
    [
        json.dumps({"pid": 1, "host": socket.gethostname(), "command": "init"}),
        json.dumps({"pid": 2**22 + 1, "host": socket.gethostname(), "command": "of another boot"}),
        json.dumps({"pid": 5, "host": "elsewhere", "command": "of another machine"}),
        '{"pid": 1',
        "",
    ],
)
def test_a_file_alone_says_nothing(tmp_path, left):
    (tmp_path / NAME).write_text(left)
    with folder_lock(tmp_path):
        pass


def test_a_program_may_ask_twice(tmp_path):
    with folder_lock(tmp_path), folder_lock(f"{tmp_path}/."):
        pass


def test_a_forked_worker_holds_nothing(tmp_path):
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        with folder_lock(tmp_path):
            worker = os.fork()
            if worker == 0:  # lives on
                os.write(writer, b"%d\n" % os.getpid())
                time.sleep(60)
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    worker = int(os.read(reader, 100))
    try:
        with folder_lock(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        os.close(reader)
        os.close(writer)


def test_what_a_killed_script_has_started_is_named(tmp_path):
    """As psslm.sh does: the lock is that of a descriptor, which its programs inherit."""
    script = f"""
        exec 8<>{tmp_path}/{NAME}
        {sys.executable} {ROOT}/local/lock_folder.py --folder {tmp_path} --pid $$ <&8 \\
            --command 'run.sh --stage 6' || exit 1
        sleep 60 &
        echo $!
        wait
    """
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    bash = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True, env=env)
    program = int(bash.stdout.readline())
    second = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env)
    assert second.returncode == 1
    assert f"ERROR: {tmp_path}: process {bash.pid} on" in second.stderr
    assert "(run.sh --stage 6)" in second.stderr and second.stderr.count("\n") == 1
    bash.kill()
    bash.wait()
    with pytest.raises(ValueError, match=f"what process {bash.pid} .* has started is still"):
        with folder_lock(tmp_path):
            pass
    os.kill(program, signal.SIGKILL)
    bash.stdout.close()
    deadline = time.time() + 5
    while Path(f"/proc/{program}").exists() and time.time() < deadline:
        time.sleep(0.01)
    with folder_lock(tmp_path):
        pass
