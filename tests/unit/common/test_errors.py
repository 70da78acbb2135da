"""Errors of libraries as one line."""

import argparse
import io
import json
import os
import pickle
import tarfile
import zipfile

import pytest
import yaml

from espnet_psslm.common.config_file import check_config_file
from espnet_psslm.common.errors import as_fault, in_words, reading
from espnet_psslm.common.files import check_file
from espnet_psslm.common.json_files import parse_json
from espnet_psslm.common.yaml_file import read_mapping, read_yaml


class Sized:
    def __init__(self, size: int) -> None:
        self.size = size


# What raises it, and what is said of it.
RAISED = {
    "yaml": (lambda: yaml.safe_load("a: {b"), "no YAML"),
    "json": (lambda: json.loads("{a}"), "no JSON (Expecting property name"),
    "json, later": (lambda: json.loads('{"a": 1,\n"b" 2}'), "at line 2, column 5"),
    "bytes": (lambda: b"a\xff".decode("utf-8"), "not UTF-8 (byte 0xff at 1)"),
    "surrogate": (lambda: "low \udc80".encode("utf-8"), "half a character"),
    "no UTF-8": (lambda: "\u2192".encode("latin-1"), "as latin-1; set PYTHONIOENCODING"),
    "zip": (lambda: zipfile.ZipFile(io.BytesIO(b"PK")), "a broken archive (File is not a zip"),
    "tar": (lambda: tarfile.open(fileobj=io.BytesIO(b"x" * 600)), "a broken archive"),
    "pickle": (lambda: pickle.loads(b"x"), "no file of tensors alone"),
    "deep": (lambda: json.loads("[" * 100_000), "nested too deeply"),
    "module": (lambda: __import__("no_such_module"), "'no_such_module' is not installed"),
    "unknown option": (lambda: Sized(size=1, colour=2), "Sized has no option 'colour'"),
    "lacking option": (lambda: Sized(), "Sized needs 'size'"),
    "missing file": (lambda: open("/none/a.txt"), "'/none/a.txt'"),
    "of ours": (lambda: int("x"), "invalid literal"),
}


@pytest.mark.parametrize("name", RAISED)
def test_said_in_one_line(name):
    raises, words = RAISED[name]
    with pytest.raises(Exception) as caught:
        raises()
    said = in_words(caught.value)
    assert words in said and "\n" not in said


FAULTS = (KeyError, AttributeError, TypeError, AssertionError, RuntimeError, IndexError)


@pytest.mark.parametrize("kind", FAULTS)
def test_what_is_our_fault(kind):
    error = kind("x")
    assert in_words(error) is None
    assert as_fault(error).startswith(type(error).__name__)


def test_memory():
    assert "smaller batches" in in_words(MemoryError())


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Caught ValueError in DataLoader worker process 0.\nTrace\nValueError: a: b", "a: b"),
        ("\n\n-- Process 1 terminated with the following error:\nx\nOSError: no a", "no a"),
        ("Caught KeyError in DataLoader worker process 0.\nTrace\nKeyError: 'a'", None),
    ],
)  # fmt: skip
def test_what_another_process_raised(message, said):
    found = in_words(RuntimeError(message))
    assert found is None if said is None else found.startswith(said)


def test_reading_names_the_file_and_the_line(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb:\n\tc: 2\n")
    with pytest.raises(ValueError, match=r"a.yaml:3: no YAML .*indent with blanks, no tabs"):
        read_yaml(path)
    with pytest.raises(FileNotFoundError), reading("a.yaml"):
        open("/none/a.txt")
    with pytest.raises(KeyError), reading("a.yaml"):  # ours
        raise KeyError("x")
    path.write_text("- a\n")
    with pytest.raises(ValueError, match="a.yaml: holds no names and values"):
        read_mapping(path)


def test_levels_are_counted(tmp_path):
    path = tmp_path / "a.yaml"
    for text in ("[" * 1001 + "]" * 1001, "- " * 1001 + "a", "? " * 1001 + "a", "{a: " * 1001):
        path.write_text(text)
        with pytest.raises(ValueError, match="a.yaml: nested too deeply"):
            read_yaml(path)
    path.write_text("\n".join(["- [1, 2]"] * 2000))
    assert read_yaml(path) == [[1, 2]] * 2000


def test_json_that_a_text_file_cannot_hold():
    assert parse_json('"\\ud83d\\ude00"') == "\U0001f600"  # as JSON writes it
    assert parse_json(b'\xef\xbb\xbf"\\\\ud800"') == "\\ud800"  # a backslash, and text
    for text in ('"\\ud800"', '"\\uDFFF"', '{"\\ud83d": 1}'):
        with pytest.raises(UnicodeEncodeError):
            parse_json(text)
    with pytest.raises(UnicodeDecodeError):
        parse_json("[1]".encode("utf-16"))


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("none", "does not exist; fix"), ("", "is a folder, no file; fix"),
                        ("pipe", "is a pipe or a device"), ("a\0b", "does not exist"),
                        ("x" * 5000, "does not exist")):  # fmt: skip
        with pytest.raises(ValueError, match=f"--opt {tmp_path}.*{words}"):
            check_file(tmp_path / name, option="--opt", fix="fix")


def config_parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    parser.add_argument("--size", type=int, default=3)
    parser.add_argument("--kind", choices=("small", "large"), default="small")
    parser.add_argument("--size_conf", default={})
    parser.add_argument("--many", type=float, action="append", default=[])
    return parser


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("siz: 3", "siz is no option of this command; did you mean size"),
        ("xyz: 3", "xyz is no option of this command; --help"),
        ("size: many", "size: 'many' does not fit"),
        ("size: 1.5", "size: 1.5 does not fit"),
        ("kind: huge", "kind: 'huge' is unknown; use one of small, large"),
        ("size_conf: 3", "size_conf: 3 is no section"),
        ("many: [1, x]", "many: [1, 'x'] does not fit"),
    ],
)
def test_a_configuration_that_does_not_fit(tmp_path, text, words):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        check_config_file(config_parser(), ["--config", str(path)])
    assert str(caught.value).startswith(f"--config {path}: ") and words in str(caught.value)


def test_a_configuration_that_fits(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("size: '4'\nkind: large\nsize_conf: {a: 1}\nmany: [1, 2.5]\n")
    check_config_file(config_parser(), [f"--config={path}"])
    path.write_text("size:\n")  # left as it is
    check_config_file(config_parser(), ["--config", str(path)])
    check_config_file(config_parser(), [])
    check_config_file(argparse.ArgumentParser(), ["--config", "none"])  # no such option
