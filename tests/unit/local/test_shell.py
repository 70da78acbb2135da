"""parse_options.sh, stage_log.py and the checks of psslm.sh, which need no trained model."""

import json
import subprocess
import sys
import time

import pytest


def bash(script, *args, cwd=None):
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{script}", "name.sh", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )


@pytest.fixture
def parse(root):
    def run(*args):
        return bash(
            'seed=0\nsft=true\nname=\nhelp_message="some help"\n'
            f'. "{root}/local/parse_options.sh"\n'
            'echo "$seed|$sft|$name|$*"',
            *args,
        )

    return run


def test_options(parse, tmp_path):
    assert parse().stdout == "0|true||\n"
    out = parse("--seed", "3", "--sft=false", "--name", "a b", "rest", "--seed")
    assert out.stdout == "3|false|a b|rest --seed\n"
    (tmp_path / "my.conf").write_text("seed=7\nname=file\n")
    out = parse("--config", str(tmp_path / "my.conf"), "--name=later")
    assert out.stdout == "7|true|later|\n"
    assert parse("--help").stdout == "some help\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--sed", "3"], "unknown option --sed"),
        (["--sft", "yes"], "option --sft takes true or false, not 'yes'"),
        (["--seed"], "option --seed needs a value"),
        (["--PATH", "x"], "bad option --PATH"),
        (["--config", "/nonexistent"], "--config /nonexistent: no such file"),
    ],
)
def test_bad_options_end_in_one_line(parse, args, message):
    out = parse(*args)
    assert out.returncode == 1
    assert message in out.stderr
    assert len(out.stderr.splitlines()) == 1


def stage_log(root, *args):
    command = [sys.executable, str(root / "local/stage_log.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_stage_log_keeps_seconds_and_peak(root, tmp_path):
    log = ["--log", str(tmp_path / "new" / "log.json"), "--stage"]
    for stage, seconds in (("stage1_data", 2000), ("stage3_format", 5000), ("stage1_data", 3000)):
        said = stage_log(root, "note", *log, stage, "--since", str(time.time() - seconds)).stdout
        assert int(said) == pytest.approx(seconds, abs=20)
    values = json.loads((tmp_path / "new" / "log.json").read_text())
    assert values == {
        "stage1_data": pytest.approx(3000, abs=20), "stage3_format": pytest.approx(5000, abs=20)
    }  # fmt: skip

    log[1] = str(tmp_path / "rss.json")
    hungry = "x = bytearray(200_000_000); x[::4096] = x[::4096].replace(b'\\0', b'\\1')"
    stage_log(root, "run", *log, "a", "--", sys.executable, "-c", hungry)
    peak = json.loads((tmp_path / "rss.json").read_text())["a"]
    assert 200 < peak < 400
    stage_log(root, "run", *log, "a", "--", "true")
    assert json.loads((tmp_path / "rss.json").read_text())["a"] == peak


def test_stage_log_hands_on_the_exit_status(root, tmp_path):
    log = ["--log", str(tmp_path / "log.json"), "--stage", "a", "--"]
    assert stage_log(root, "run", *log, "bash", "-c", "exit 7").returncode == 7
    assert stage_log(root, "run", *log, "bash", "-c", "kill -9 $$").returncode == 137


def run_mini(root, tmp_path, *args):
    places = ["--expdir", f"{tmp_path}/exp", "--dumpdir", f"{tmp_path}/dump"]
    command = [str(root / "egs2/mini/psslm1/run.sh"), "--python", sys.executable, *places, *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (3, "data/train/wav.scp: run stage 1 first"),
        (4, "dump/raw/train/wav.scp: run stage 3 first"),
        (5, "dump/raw/train/text: run stage 4 first"),
        (6, "tokens.txt: run stage 5 first"),
        (7, "exp/ctc/valid.loss.ave.pth: run stage 6 first"),
        (8, "exp/ctc/valid.loss.ave.pth: run stage 6 first"),
        (9, "dump/steps/dev/psslm.jsonl: run stage 8 first"),
        (10, "data/train_text/psslm.jsonl: run stage 1 first"),
        (11, "exp/psslm_stats/text/train/length_shape: run stage 10 first"),
        (12, "exp/psslm_text/valid.acc.ave.pth: run stage 11 first"),
        (13, "exp/ctc/decode/test/1best_recog/text: run stage 7 first"),
        (14, "exp/psslm_text/valid.acc.ave.pth: run stage 11 first"),
        (15, None),
    ],
)
def test_stage_without_input_names_it_and_the_stage_before(root, tmp_path, stage, message):
    options = ["--datadir", f"{tmp_path}/data", "--stage", str(stage), "--stop_stage", str(stage)]
    out = run_mini(root, tmp_path, *options)
    if message is None:
        assert out.returncode == 0
        assert "nothing uploaded: --hf_repo names no repository" in out.stderr
    else:
        assert out.returncode == 1
        assert message in out.stderr.splitlines()[-1]


def test_recipe_options(root, tmp_path):
    assert "--num_train N" in run_mini(root, tmp_path, "--help").stdout
    out = run_mini(root, tmp_path, "--real_data", "nope.jsonl")
    assert out.returncode == 1
    assert out.stderr == "run.sh: --real_data nope.jsonl: no such file, or empty\n"


def test_values_that_look_like_options_stay_whole(root, tmp_path):
    options = ["--sft_args", "--optim_conf lr=1e-3", "--datadir", f"{tmp_path}/data"]
    out = run_mini(root, tmp_path, *options, "--stage", "15")
    assert out.returncode == 0, out.stderr
    commands = (tmp_path / "exp/commands.txt").read_text()
    assert "--sft_args --optim_conf lr=1e-3" in commands
    assert run_mini(root, tmp_path, "--seed").returncode == 1


def test_setup_without_a_python_says_so_in_one_line(root, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "cat", "cut", "dirname", "sha256sum"):
        path = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout
        (tools / name).symlink_to(path.strip())
    old = tools / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    env = {"PATH": str(tools), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [str(tools / "bash"), str(root / "local/setup_env.sh")]
    out = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert out.returncode == 1
    assert out.stdout == ""
    assert out.stderr.splitlines() == [
        "setup_env: no Python >= 3.12 and < 3.14 (with venv) found; install one, or set "
        "PYTHON=/path/to/python3.12"
    ]
    assert not (tmp_path / "cache").exists()


def test_half_written_bookkeeping_fails_nothing(root, tmp_path):
    path = tmp_path / "peak_rss_mb.json"
    path.write_text('{"stage3_format": 5')
    done = stage_log(root, "run", "--log", str(path), "--stage", "a", "--", "true")
    assert done.returncode == 0 and f"{path} is broken; begun anew" in done.stderr
    assert json.loads(path.read_text()).keys() == {"a"}


@pytest.mark.parametrize(("command", "code"), [("true", 1), ("exit 7", 7)])
def test_bookkeeping_without_room_is_one_line(root, tmp_path, command, code):
    (tmp_path / "file").write_text("")
    log = ["--log", str(tmp_path / "file/seconds.json"), "--stage", "a", "--"]
    done = stage_log(root, "run", *log, "bash", "-c", command)
    assert done.returncode == code
    assert f"{tmp_path}/file/seconds.json: " in done.stderr and done.stderr.count("\n") == 1
