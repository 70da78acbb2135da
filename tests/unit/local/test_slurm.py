"""local/slurm.py: run.pl's command line on submitit, whose local executor stands for a cluster."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "local/slurm.py"


@pytest.fixture
def run(tmp_path):
    def start(*words, **variables):
        command = [sys.executable, str(SCRIPT), *words]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, check=False,
            env=os.environ | variables,
        )  # fmt: skip

    return start


@pytest.fixture(scope="module")
def slurm():
    spec = importlib.util.spec_from_file_location("slurm", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_what_failed_is_run_again(run, tmp_path):
    job = ("bash", "-c", "echo JOB >>ran; echo words of JOB; test -e ok || test JOB != 2")
    words = ("--cluster", "local", "JOB=1:3", "logs/j.JOB.log", *job)
    out = run(*words)
    assert out.returncode == 1
    assert "slurm.py: job 2 failed with status 1, log in logs/j.2.log" in out.stderr
    assert "words of 2" in out.stderr and "1 of 3 jobs failed" in out.stderr
    lines = (tmp_path / "logs/j.1.log").read_text().splitlines()
    assert lines[3] == "words of 1" and lines[-1].startswith("# Ended (code 0)")
    (tmp_path / "ran").unlink()
    (tmp_path / "ok").touch()
    out = run(*words)
    assert out.returncode == 0, out.stderr
    assert (tmp_path / "ran").read_text() == "2\n"


def test_what_a_shell_would_act_on_stands_for_itself(run, tmp_path):
    out = run("--cluster=local", "a.log", "echo", "$HOME", "two  words", "|", "tr", "a-z", "A-Z")
    assert out.returncode == 0, out.stderr
    assert "$HOME TWO  WORDS" in (tmp_path / "a.log").read_text()


def test_espnets_launcher_takes_it(run, tmp_path):
    command = [sys.executable, "-m", "espnet2.bin.launch"]
    command += ["--cmd", f"{SCRIPT} --cluster local", "--ngpu", "0", "--num_nodes", "2"]
    command += ["--log", "train.log", "--", "echo", "trained"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # as path.sh sets it
    out = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, check=False,
        env=os.environ | {"PATH": path},
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    for log in ("train.log", "train.log.1"):
        text = (tmp_path / log).read_text()
        assert "\ntrained --ngpu 0 --multiprocessing_distributed true --dist_launcher slurm" in text


def test_options_become_those_of_sbatch(slurm):
    words = ["--gpu", "2", "--num_threads=4", "--mem", "16G", "--time", "1-12:30:00"]
    words += ["--num-nodes", "3", "--partition", "gpu", "--max-jobs-run", "5"]
    found = slurm.parameters(slurm.parse([*words, "JOB=1:9", "JOB.log", "python", "x"]))
    assert found == {
        "name": "python", "nodes": 3, "tasks_per_node": 1, "cpus_per_task": 4, "gpus_per_node": 2,
        "mem_gb": 16.0, "timeout_min": 36 * 60 + 30, "slurm_array_parallelism": 5,
        "slurm_additional_parameters": {"partition": "gpu"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90:30", 91), ("4:0:0", 240), ("2-0", 2880), ("1-1:1", 1501)],
)
def test_times(slurm, text, expected):
    assert slurm.minutes(text) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.log", "true"], "sbatch is not on PATH"),
        (["--cluster", "local", "--time", "soon", "a.log", "true"], "--time soon: write minutes"),
        (["--cluster", "local", "--mem", "much", "a.log", "true"], "--mem much: write a number"),
        (["--cluster", "local", "a.log"], "usage: "),
    ],
)
def test_bad_command_lines(run, words, message):
    out = run(*words, PATH="/usr/bin:/bin")
    assert (out.returncode, len(out.stderr.splitlines())) == (1, 1)
    assert message in out.stderr


def test_submitit_writes_an_array_for_sbatch(slurm, tmp_path, monkeypatch):
    """What a cluster would get: two of three jobs, with a stand-in for sbatch."""
    import submitit

    fake = tmp_path / "sbatch"
    fake.write_text('#!/bin/sh\ncp "$1" "$(dirname "$0")/got"\necho Submitted batch job 7\n')
    for path in (fake, tmp_path / "srun"):
        path.touch()
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    executor = submitit.AutoExecutor(folder=tmp_path / "submitit", cluster="slurm")
    request = slurm.parse(["--gpu", "1", "--partition", "p", "JOB=1:3", "JOB.log", "true"])
    executor.update_parameters(**slurm.parameters(request))
    jobs = slurm.submit(executor, request, [1, 3])
    text = (tmp_path / "got").read_text()
    assert [job.job_id for job in jobs] == ["7_0", "7_1"]
    for option in ("--gpus-per-node=1", "--partition=p", "--time=2880", "--array=0-1%2"):
        assert f"#SBATCH {option}\n" in text


def test_arrays_are_cancelled_as_a_whole(slurm, tmp_path, monkeypatch):
    fake = tmp_path / "scancel"
    fake.write_text('#!/bin/sh\necho "$*" >"$(dirname "$0")/got"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    slurm.cancel(["7_0", "7_1", "12"])
    assert (tmp_path / "got").read_text() == "7 12\n"
