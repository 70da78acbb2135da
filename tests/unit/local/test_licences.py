"""The list of licences, against what is installed."""

import re
import runpy
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

# What comes with others, as torch's wheels for NVIDIA GPUs name them, or with Python.
APART = {"nvidia-*", "cuda-bindings", "cuda-pathfinder", "cuda-toolkit", "triton", "setuptools"}


@pytest.fixture(scope="module")
def licences(root):
    return runpy.run_path(str(root / "local/licences.py"))


def test_what_is_installed_is_in_the_list(licences):
    known = licences["read_list"]()
    found = licences["table"](licences["installed"]())
    new = {name: of for name, of in found.items() if known.get(name) != of}
    assert not new, "look at their licences, then run local/licences.py"
    assert len(found) > 100


def test_what_is_in_the_list_is_needed(root, licences):
    names = set()
    for file in ("constraints.txt", "requirements-weights.txt", "requirements-voices.txt"):
        names |= set(re.findall(r"^([\w.-]+)==", (root / file).read_text(), flags=re.MULTILINE))
    needed = {licences["normalised"](name) for name in names}
    assert set(licences["read_list"]()) - needed <= APART


def test_the_page_is_as_the_script_writes_it(root, licences):
    page = (root / "docs/licences.md").read_text(encoding="utf-8")
    assert licences["as_markdown"](licences["read_list"]()) == page


def package(folder: Path, name: str, *said: str) -> PathDistribution:
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.4", f"Name: {name}", "Version: 1", *said]
    (info / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return PathDistribution(info)


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        (["License-Expression: MIT AND Apache-2.0 WITH LLVM-exception"], None),
        (["License: Apache 2.0 License"], "Apache-2.0"),
        (
            [
                "License: Copyright of somebody",
                "Classifier: License :: OSI Approved :: BSD License",
            ],
            "BSD",
        ),
        (["License: UNKNOWN", "Classifier: License :: OSI Approved :: MIT License"], "MIT"),
    ],
)
def test_what_packages_say(tmp_path, licences, said, licence):
    licence = licence or said[0].partition(": ")[2]
    assert licences["table"]([package(tmp_path, "A_b", *said)]) == {"a-b": licence}


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (["License: mine"], "a.b does not say its licence"),
        (["Classifier: License :: OSI Approved"], "a.b does not say its licence"),
        (["License-Expression: MIT AND GPL-3.0"], "a-b is MIT AND GPL-3.0: look at"),
        (["License-Expression: LGPL-2.1-or-later"], "a-b is LGPL-2.1-or-later: look at"),
    ],
)
def test_what_somebody_must_look_at(tmp_path, licences, said, match):
    with pytest.raises(ValueError, match=match):
        licences["table"]([package(tmp_path, "a.b", *said)])
