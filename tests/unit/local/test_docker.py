"""The Dockerfiles: no engine runs in tests, so they are linted and what they name is looked up."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

KINDS = ("cuda", "ascend")


def read(root: Path, kind: str) -> str:
    """Instructions, one a line, without comments."""
    text = (root / f"local/docker/{kind}.Dockerfile").read_text().replace("\\\n", " ")
    return "\n".join(line for line in text.splitlines() if line and not line.startswith("#"))


@pytest.mark.parametrize("kind", KINDS)
def test_hadolint_has_no_complaint(root, kind):
    linter = Path(sys.executable).parent / "hadolint"
    file = root / f"local/docker/{kind}.Dockerfile"
    done = subprocess.run([linter, file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_copied_exists(root, kind):
    copied = re.findall(r"^COPY (.+) \S+$", read(root, kind), flags=re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert "." in names
    assert [name for name in names if not (root / name).exists()] == []
    commands = re.findall(r"(?:local|tests)/\w+\.sh", read(root, kind))
    assert [name for name in commands if not (root / name).is_file()] == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_recipes_make_stays_out(root, kind):
    ignored = (root / f"local/docker/{kind}.Dockerfile.dockerignore").read_text().split()
    made = [line for line in (root / ".gitignore").read_text().split() if line.startswith("/egs2")]
    assert made
    assert {line.strip("/") for line in made} <= set(ignored)


def test_environments_are_those_of_the_project(root):
    extras = runpy.run_path(str(root / "setup.py"), run_name="requirements")["EXTRAS_REQUIRE"]
    (installed,) = re.findall(r"-e '\.\[(.+)\]'", read(root, "ascend"))
    assert set(installed.split(",")) <= extras.keys()
    assert "constraints" not in read(root, "ascend")
    needed = re.search(r"^requirement_files=\((.+)\)$", (root / "local/setup_env.sh").read_text(),
                       flags=re.MULTILINE)  # fmt: skip
    for name in re.findall(r"\$root/([\w.-]+)", needed.group(1)):
        assert re.search(rf"^COPY .*{re.escape(name)}", read(root, "cuda"), flags=re.MULTILINE)
