"""local/start.py; what psslm.sh does with it is in test_psslm.py."""

import importlib.util
import os
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "local/start.py"


@pytest.fixture(scope="module")
def start():
    spec = importlib.util.spec_from_file_location("start", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("jobs", "threads"), [(2, "2"), (4, "1"), (8, "1")])
def test_jobs_share_the_cores(start, monkeypatch, jobs, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    start.share_cores(jobs)
    assert os.environ["OMP_NUM_THREADS"] == threads
    start.share_cores(1)
    assert os.environ["OMP_NUM_THREADS"] == threads  # what is said stays


def test_only_places_of_data_and_output_are_those_of_a_job(start):
    command = ["python", "x", "--manifest", "raw/test/psslm.jsonl", "--output_dir", "exp/test"]
    command += ["--label_manifest", "raw/test/psslm.jsonl", "--asr_model_file", "exp/test/m.pth"]
    assert start.job_words(command, "exp/test") == [
        *("python", "x", "--manifest", "exp/test/split/PSSLM_JOB/psslm.jsonl"),
        *("--output_dir", "exp/test/jobs/PSSLM_JOB", *command[6:], "--judge_skipped", "false"),
    ]
