"""Errors of our command lines: one line, exit code 1."""

import argparse
import ast
from pathlib import Path

import pytest

import espnet_psslm.bin
from espnet_psslm.bin.command import FAULT, command
from espnet_psslm.bin.espnet_psslm import names


def parser():
    made = argparse.ArgumentParser(prog="tool.py")
    made.add_argument("--size", type=int, default=3)
    return made


def test_options_reach_the_body():
    with command(parser(), ["--size", "4"]) as args:
        assert args.size == 4


def test_bad_input_is_one_line_and_code_1(capsys):
    with pytest.raises(SystemExit) as caught, command(parser(), []):
        raise ValueError("a.jsonl:3: no JSON; fix it")
    assert caught.value.code == 1
    assert capsys.readouterr().err == "tool: error: a.jsonl:3: no JSON; fix it\n"


def test_a_missing_file_is_one_line_that_names_it(tmp_path, capsys):
    missing = tmp_path / "seconds.json"
    with pytest.raises(SystemExit) as caught, command(parser(), []):
        missing.read_text(encoding="utf-8")
    assert caught.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith("tool: error: ") and str(missing) in err and err.count("\n") == 1


def test_a_defect_is_called_one(capsys):
    with pytest.raises(SystemExit) as caught, command(parser(), []):
        raise KeyError("not the user's fault")
    assert caught.value.code == FAULT != 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith('tool: error: KeyError: "not the user\'s fault" in ')
    assert "fault of espnet_psslm" in line and "--traceback" in line


@pytest.mark.parametrize("error", [ValueError("a.jsonl:3: no JSON"), KeyError("x")])
def test_a_traceback_on_request(capsys, error):
    with pytest.raises(SystemExit), command(parser(), ["--traceback", "--size", "4"]) as args:
        assert vars(args) == {"size": 4}
        raise error
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert any("test_command.py" in line for line in lines)
    assert lines[-1].startswith("tool: error: ")


def test_a_stop_is_no_error(capsys):
    """Ctrl-C: no traceback, and the exit status that shells give it."""
    with pytest.raises(SystemExit) as stopped, command(parser(), []):
        raise KeyboardInterrupt
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "tool: stopped\n"


@pytest.mark.parametrize("name", names())
def test_what_is_offered_as_a_command_is_one(name):
    tree = ast.parse((Path(espnet_psslm.bin.__path__[0]) / f"{name}.py").read_text("utf-8"))
    used = {node.func.id for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
    assert used & {"command", "options"}  # --traceback, and one line for what goes wrong
    assert "main" in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
