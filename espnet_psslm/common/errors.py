"""Errors as one line: the one place that knows how the libraries that we use say what is wrong.

A reader names its file around them (:func:`reading`); a command ends in what is left of them. What
is in no table here is a fault of ours.
"""

import json
import pickle
import re
import tarfile
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path
from typing import Any

import yaml

PACKAGE = Path(__file__).resolve().parent.parent
# What torch puts, with a traceback, before the error of a data worker or of a process that trains.
FROM_ANOTHER_PROCESS = re.compile(
    r"\s*(Caught \w+ in DataLoader worker process|-- Process \d+ terminated with)"
)
LAST_LINE = re.compile(r"(?:\w+\.)*(?P<kind>\w+): (?P<words>.*)")
OF_INPUT = (
    *("ValueError", "AudioError", "OtherSteps"),
    *("OSError", "FileNotFoundError", "PermissionError"),
)
# How Python says that a section of a configuration does not fit the class that it is for.
UNKNOWN_OPTION = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")
LACKING_OPTION = re.compile(r"(\w+)\.__init__\(\) missing \d+ required .* arguments?: (.*)")


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Put the name of a file before what a library says that reads it.

    Args:
        path: the file, with a line number or the option that names it, as a user is to see it.

    Raises:
        ValueError: in one line, in place of any error of the table but OSError, which names its
            file itself, and our own ValueError.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        words = in_words(error)
        if words is None:
            raise
        place = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        line = "" if place is None else f":{place.line + 1}"
        raise ValueError(f"{path}{line}: {words}") from error


def in_words(error: BaseException) -> str | None:
    """What a user reads of an error: one line; None where it is no fault of input or options.

    Args:
        error: as it was raised.
    """
    for kinds, say in WORDS:
        if isinstance(error, kinds) and (words := say(error)) is not None:
            return _one_line(words)
    return _from_another_process(str(error))


def as_fault(error: BaseException) -> str:
    """What a user reads of a fault of ours: what and where.

    Args:
        error: as it was raised.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    [place] = (ours or frames or [None])[-1:]
    where = "" if place is None else f" in {Path(place.filename).name}:{place.lineno}"
    return _one_line(
        f"{type(error).__name__}: {error}{where}. This is a fault of espnet_psslm: please report "
        "what the same command shows with --traceback"
    )


def _one_line(words: str) -> str:
    return " ".join(line.strip() for line in words.splitlines() if line.strip())


def _of_yaml(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"no YAML ({error}); write it as UTF-8 text without control characters"
    what = error.problem or error.context or "not understood"
    column = error.problem_mark.column + 1
    hint = "see its brackets, quotes and indents"
    if "cannot start any token" in what:
        hint = "indent with blanks, no tabs, and put what begins with @, ` or % in quotes"
    return f"no YAML ({what}, at column {column}); {hint}"


def _of_json(error: json.JSONDecodeError) -> str:
    where = f"line {error.lineno}, " if error.lineno > 1 else ""
    return f"no JSON ({error.msg} at {where}column {error.colno})"


def _of_undecodable(error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    return f"not UTF-8 (byte {byte:#04x} at {error.start}); save the file as UTF-8"


def _of_unencodable(error: UnicodeEncodeError) -> str:
    if not "\ud800" <= error.object[error.start] <= "\udfff":
        where = f"{error.object[error.start]!a} cannot be written as {error.encoding}"
        return f"{where}; set PYTHONIOENCODING=utf-8"
    around = ascii(error.object[max(0, error.start - 20) : error.end + 20])
    return f"half a character (a lone surrogate) in {around}, which no text has; write it again"


def _of_options(error: TypeError) -> str | None:
    if found := UNKNOWN_OPTION.search(str(error)):
        return f"{found[1]} has no option '{found[2]}'; correct its section of the configuration"
    if found := LACKING_OPTION.search(str(error)):
        return f"{found[1]} needs {found[2]}; add it to its section of the configuration"
    return None


def _of_memory(error: BaseException) -> str:
    return f"out of memory ({first_line(error)}); take smaller batches, or a machine with more"


def _of_runtime(error: RuntimeError) -> str | None:
    # torch's own class comes with torch, which not every command imports.
    if type(error).__name__ == "OutOfMemoryError":
        return _of_memory(error)
    frames = traceback.extract_tb(error.__traceback__)
    by_espnet = frames and "espnet2" in Path(frames[-1].filename).parts
    return str(error) if by_espnet else None  # so it refuses options


def first_line(error: BaseException) -> str:
    """Of its message, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _from_another_process(message: str) -> str | None:
    """What was wrong, where torch has put the traceback of another process around it.

    Args:
        message: with ``package.Error: what was wrong`` in its last line; others give None.
    """
    if not FROM_ANOTHER_PROCESS.match(message):
        return None
    last = LAST_LINE.fullmatch(message.rstrip().splitlines()[-1])
    return last["words"] if last and last["kind"] in OF_INPUT else None


def _of_input(error: Exception) -> str:
    return _from_another_process(str(error)) or str(error)


# Kinds of errors, the narrower before the wider, and how each is said.
WORDS: tuple[tuple[Any, Callable[[Any], str | None]], ...] = (
    (yaml.YAMLError, _of_yaml),
    (json.JSONDecodeError, _of_json),
    (UnicodeDecodeError, _of_undecodable),
    (UnicodeEncodeError, _of_unencodable),
    ((OSError, ValueError), _of_input),
    (RecursionError, lambda _: "nested too deeply"),
    (
        (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError),
        lambda error: f"a broken archive ({first_line(error)}); fetch it again, whole",
    ),
    (
        pickle.UnpicklingError,
        lambda _: "no file of tensors alone, and code in it is never run; save its state dict",
    ),
    (
        ModuleNotFoundError,
        lambda error: f"the Python package '{error.name}' is not installed; pip install it",
    ),
    (MemoryError, _of_memory),
    (RuntimeError, _of_runtime),
    (TypeError, _of_options),
)
