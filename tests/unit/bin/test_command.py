"""Errors of our command lines: one line, exit code 1."""

import argparse
import ast
from pathlib import Path

import pytest

import espnet_psslm.bin
from espnet_psslm.bin.command import command
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


def test_a_defect_keeps_its_traceback():
    with pytest.raises(KeyError), command(parser(), []):
        raise KeyError("not the user's fault")


@pytest.mark.parametrize("name", names())
def test_what_is_offered_as_a_command_is_one(name):
    tree = ast.parse((Path(espnet_psslm.bin.__path__[0]) / f"{name}.py").read_text("utf-8"))
    assert "main" in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
