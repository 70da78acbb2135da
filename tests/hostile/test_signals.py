"""TERM, INT and HUP: a recipe and its jobs end with all that they have started."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# An interpreter that does nothing, but for what starts commands, and a training of 10 minutes.
STUB = """#!/usr/bin/env bash
case "$1 ${{2:-}}" in
    */stage_log.py\\ * | */start.py\\ *) exec {python} "$@" ;;
    *.asr_train)
        eval "$STUBBORN"
        sleep 600 &
        echo begun >"$BEGUN"
        wait ;;
esac
"""
MADE = (
    *("data/token_list/char_1000/tokens.txt", "dump/raw/train/speech_shape"),
    "dump/raw/dev/speech_shape",
)
STUBBORN = "trap '' TERM INT HUP;"
POLITE = "trap 'exit 0' TERM INT HUP;"  # says that all is well, and has not done its work
LIMIT_S = 60  # of a test, which takes a second or two


def until(done) -> None:
    end = time.monotonic() + LIMIT_S
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


class Started:
    """A command, and all that it has started, which has its folder in the environment."""

    def __init__(self, command, folder: Path, **variables: str) -> None:
        self.mark = f"MARK_OF_TEST={folder}"
        variables = {"MARK_OF_TEST": str(folder), "BEGUN": str(folder / "begun")} | variables
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd=folder, env=os.environ | variables, start_new_session=True,
            # Who runs the tests in the background may ignore some.
            preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in SIGNALS],
        )  # fmt: skip

    def end(self, number: signal.Signals) -> str:
        """Send the signal to the command alone; what it said."""
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=LIMIT_S)
        assert self.process.returncode == 128 + number, said
        until(lambda: not self.left())
        return said

    def left(self) -> list[str]:
        """Processes that are still there."""
        environments = Path("/proc").glob("[0-9]*/environ")
        return [path.parent.name for path in environments if self._ours(path)]

    def _ours(self, path: Path) -> bool:
        try:
            return self.mark.encode() in path.read_bytes().split(b"\0")
        except OSError:
            return False


@pytest.mark.parametrize(
    ("number", "stubborn"), [*((number, "") for number in SIGNALS), (signal.SIGTERM, STUBBORN)]
)
def test_a_recipe_ends_with_its_training(tmp_path, number, stubborn) -> None:
    stub = tmp_path / "bin/python"
    stub.parent.mkdir()
    stub.write_text(STUB.format(python=sys.executable))
    stub.chmod(0o755)
    for name in MADE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("made\n")
    command = [str(ROOT / "egs2/slurp/psslm1/run.sh"), "--python", str(stub), "--stage", "6"]
    for name in ("data", "dump", "exp"):
        command += [f"--{name}dir", str(tmp_path / name)]
    started = Started([*command, "--unit_type", "char"], tmp_path, STUBBORN=stubborn)
    until((tmp_path / "begun").exists)
    assert len(started.left()) > 3
    started.end(number)
    # What stage_log.py knew is kept, unless it had to be killed.
    kept = tmp_path / "exp/peak_rss_mb.json"
    assert stubborn or json.loads(kept.read_text())["stage6_train_ctc"] > 0


def test_a_recipe_that_nohup_shields_does_not_hear_hup(tmp_path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(f". {ROOT}/local/children.sh\necho begun >$BEGUN\nsleep 600\n")
    started = Started(["bash", "-c", f"trap '' HUP; exec bash {script}"], tmp_path)
    until((tmp_path / "begun").exists)
    started.process.send_signal(signal.SIGHUP)
    assert started.process.poll() is None and len(started.left()) == 3
    started.end(signal.SIGTERM)


@pytest.mark.parametrize("code", [0, 7])
def test_the_status_of_a_script_is_its_own(tmp_path, code) -> None:
    script = tmp_path / "script.sh"
    script.write_text(f'. {ROOT}/local/children.sh\necho "$# $1"\nexit {code}\n')
    out = subprocess.run(
        ["bash", str(script), "a b", ""], capture_output=True, text=True, check=False
    )
    assert (out.returncode, out.stdout, out.stderr) == (code, "2 a b\n", "")


def test_a_stop_from_the_keyboard_stops_all(tmp_path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(f". {ROOT}/local/children.sh\nsleep 600 &\necho begun >$BEGUN\nwait\n")
    started = Started(["bash", str(script)], tmp_path)
    until((tmp_path / "begun").exists)
    for number, states in ((signal.SIGTSTP, {"T"}), (signal.SIGCONT, {"S"})):
        started.process.send_signal(number)
        until(lambda states=states: {state_of(pid) for pid in started.left()} == states)
    started.end(signal.SIGTERM)


def state_of(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize(
    ("script", "trap"),
    [
        (["run.py", "--max-jobs-run", "2"], ""),
        (["run.py", "--max-jobs-run", "2"], STUBBORN),
        (["run.py", "--max-jobs-run", "2"], POLITE),
        pytest.param(["slurm.py", "--cluster", "local"], STUBBORN, marks=pytest.mark.long),
    ],
)
def test_jobs_end_and_can_be_run_again(tmp_path, script, trap) -> None:
    work = f"{trap} if [ -e ok ]; then echo JOB >>again; exit; fi; "
    work += "sleep 600 & touch at.JOB; wait"
    command = [sys.executable, str(ROOT / "local" / script[0]), *script[1:]]
    command += ["JOB=1:3", "j.JOB.log", "bash", "-c", work]
    started = Started(command, tmp_path)
    until(lambda: (tmp_path / "at.1").exists() and (tmp_path / "at.2").exists())
    said = started.end(signal.SIGTERM)
    assert "ended by SIGTERM; the same command runs what has not ended well" in said
    assert "Traceback" not in said
    if script[0] == "run.py":  # the third had to wait for its turn
        assert not (tmp_path / "at.3").exists()
    (tmp_path / "ok").touch()
    subprocess.run(command, cwd=tmp_path, check=True)
    assert sorted((tmp_path / "again").read_text().split()) == ["1", "2", "3"]
