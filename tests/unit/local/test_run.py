"""local/run.py: run.pl's command line."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SCRIPT = Path(__file__).resolve().parents[3] / "local/run.py"


@pytest.fixture
def run(tmp_path):
    def start(*words):
        command = [sys.executable, str(SCRIPT), *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    return start


def test_one_command(run, tmp_path):
    out = run(
        "--gpu", "1", "--num-threads=4", "logs/a.log", "echo", "two  words", "|", "tr", "a-z", "A-Z"
    )
    assert (out.returncode, out.stdout, out.stderr) == (0, "", "")
    lines = (tmp_path / "logs/a.log").read_text().splitlines()
    assert lines[0] == "# echo 'two  words' | tr a-z A-Z"
    assert lines[3] == "TWO  WORDS"
    assert lines[-1].startswith("# Ended (code 0) at ")


def test_a_failure_in_a_pipe_counts(run):
    out = run("a.log", "false", "|", "cat")
    assert out.returncode == 1
    assert out.stderr.startswith("run.py: the job failed with status 1, log in a.log\n")


def test_words_are_not_for_the_shell(run, tmp_path):
    assert run("a.log", "echo", "$HOME", "a;b", "*").returncode == 0
    assert "$HOME a;b *" in (tmp_path / "a.log").read_text()


def test_only_what_failed_is_run_again(run, tmp_path):
    job = ("JOB=1:3", "j.JOB.log", "bash", "-c", "echo JOB >>ran; test -e ok || test JOB != 2")
    out = run(*job)
    assert out.returncode == 1
    assert "job 2 failed with status 1, log in j.2.log" in out.stderr
    assert "# Ended (code 1)" in out.stderr and "1 of 3 jobs failed" in out.stderr
    (tmp_path / "ran").unlink()
    assert run(*job).returncode == 1
    assert (tmp_path / "ran").read_text() == "2\n"
    (tmp_path / "ok").touch()
    assert run(*job).returncode == 0
    (tmp_path / "ran").unlink()
    # All have ended well: whoever asks again wants all again.
    assert run(*job).returncode == 0
    assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2", "3"]


@pytest.mark.parametrize("changed", ["model.pth", "split/1/wav.scp"])
def test_a_result_belongs_to_the_contents_of_what_it_was_made_of(run, tmp_path, changed):
    for name in ("model.pth", "split/1/wav.scp", "split/2/wav.scp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")
    script = "echo JOB >>ran; mkdir -p out/JOB; echo JOB >>out/JOB/text; test -e ok || test JOB = 1"
    words = ("--model", "model.pth", "--data_dir", "split/JOB", "--output_dir", "out/JOB")
    job = ("JOB=1:2", "j.JOB.log", "bash", "-c", script, "name", *words, "x" * 300)
    assert run(*job).returncode == 1
    assert run(*job).returncode == 1  # what it has written itself is no other input
    assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2", "2"]
    (tmp_path / "ran").unlink()
    (tmp_path / "ok").touch()
    (tmp_path / changed).write_text("new")
    assert run(*job).returncode == 0
    assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2"]


@pytest.mark.parametrize("changed", ["ctc/config.yaml", "bpe.model", "lm/weights", "rates.yaml"])
def test_and_of_what_its_configurations_name(run, tmp_path, changed):
    for name in ("bpe.model", "lm/weights", "rates.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    ctc = {"token_list": ["a"], "bpemodel": str(tmp_path / "bpe.model"), "output_dir": "."}
    bridge = {"llm_conf": {"name": "lm"}, "simulator_conf": {"measured": "rates.yaml"}}
    bridge["acoustic_conf"] = {"train_config": "ctc/config.yaml"}
    for name, config in {"ctc": ctc, "bridge": bridge}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(config))
    script = "echo JOB >>ran; test -e ok || test JOB = 1"
    job = ("JOB=1:2", "j.JOB.log", "bash", "-c", script, "name", "bridge/config.yaml")
    assert run(*job).returncode == 1
    assert run(*job).returncode == 1  # the bridge's folder and its log change no input
    assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2", "2"]
    (tmp_path / "ran").unlink()
    (tmp_path / "ok").touch()
    with open(tmp_path / changed, "a") as file:
        file.write("\n# new\n")
    assert run(*job).returncode == 0
    assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2"]


@pytest.mark.parametrize(
    "content",
    [
        *("a: [b\n", "- a\n", "acoustic_conf: a\n", "acoustic_conf: {train_config: 5}\n"),
        *(f"prompt_file: {'x' * 5000}\n", "prompt_file: [[5]]\n", "\0"),
    ],
)
def test_a_configuration_that_is_none_is_left_to_the_command(run, tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    assert run("a.log", "cat", "config.yaml").returncode == 0


def test_a_file_that_may_not_be_read_is_left_to_the_command(run, tmp_path):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0)
    assert run("a.log", "ls", "secret").returncode == 0


def test_the_ends_of_three_logs_are_shown(run):
    out = run("JOB=1:5", "j.JOB.log", "bash", "-c", "echo reason of JOB; test JOB = 2")
    lines = out.stderr.splitlines()
    reasons = [line for line in lines if line.startswith("reason of ")]
    assert reasons == ["reason of 1", "reason of 3", "reason of 4"]
    assert sum("failed with status 1, log in " in line for line in lines) == 4
    assert lines[-1].startswith("run.py: 4 of 5 jobs failed; ")


def test_jobs_run_side_by_side_or_in_turn(run, tmp_path):
    # Each of two jobs waits for the other's file.
    look = "[ -e at.1 ] && [ -e at.2 ] && exit; sleep 0.1"
    meet = f"touch at.JOB; for i in $(seq 50); do {look}; done; exit 1"
    assert run("JOB=1:2", "m.JOB.log", "bash", "-c", meet).returncode == 0
    alone = "mkdir lock && sleep 0.05 && rmdir lock"
    out = run("--max-jobs-run", "1", "JOB=1:3", "s.JOB.log", "bash", "-c", alone)
    assert out.returncode == 0, out.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "usage: run.py"),
        (["--gpu"], "option --gpu needs a value"),
        (["a.log"], "usage: run.py"),
        (["JOB=1:2", "a.log", "true"], "the log 'a.log' must hold JOB"),
    ],
)
def test_bad_command_lines(run, words, message):
    out = run(*words)
    assert (out.returncode, len(out.stderr.splitlines())) == (1, 1)
    assert message in out.stderr


def test_espnets_launcher_takes_it(run, tmp_path):
    command = [sys.executable, "-m", "espnet2.bin.launch", "--cmd", f"{SCRIPT} --mem 1G"]
    command += ["--log", "train.log", "--ngpu", "0", "--", "echo", "trained"]
    out = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert out.returncode == 0, out.stderr
    assert (
        "trained --ngpu 0 --multiprocessing_distributed True"
        in (tmp_path / "train.log").read_text()
    )
