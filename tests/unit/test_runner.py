"""tests/run.sh and conftest.py: the counts, and skips that are failures."""

import os
import re
import shutil
import subprocess
import sys

import pytest

TESTS = """
import pytest

def test_good():
    pass

def test_bad():
    assert False

@pytest.fixture
def broken():
    raise RuntimeError

def test_error(broken):
    pass

def test_needs_shared(shared_data):
    pass

@pytest.mark.skip(reason="other")
def test_skipped():
    pass

@pytest.mark.long
def test_long():
    pass
"""

OTHER_SKIPS = """
import pytest

@pytest.mark.requires_cuda
def test_gpu():
    pytest.skip("needs a CUDA device")

def test_needs_shared(shared_data):
    pass

@pytest.mark.xfail
def test_known():
    assert False
"""


@pytest.fixture
def checkout(root, tmp_path):
    """A small checkout with the real runner, beside which ../shared may stand."""
    folder = tmp_path / "checkout"
    (folder / "tests").mkdir(parents=True)
    for name in ("tests/run.sh", "tests/conftest.py", "tests/helpers.py", "pyproject.toml"):
        shutil.copy(root / name, folder / name)
    (folder / "tests" / "test_it.py").write_text(TESTS)
    return folder


def run(checkout, *args, **variables):
    command = [str(checkout / "tests/run.sh"), "--python", sys.executable, *args]
    # Nor does the coverage of this run count the lines of that checkout.
    left_out = ("CI", *(name for name in os.environ if name.startswith("COVERAGE_")))
    env = {name: value for name, value in os.environ.items() if name not in left_out} | variables
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def last_line(checkout, *args, **variables):
    out = run(checkout, *args, **variables)
    return out.stdout.splitlines()[-1], out.returncode


def test_counts(checkout):
    # Without ../shared the test that needs it is skipped.
    assert last_line(checkout) == ("1 passed, 2 failed, 2 skipped", 1)
    assert last_line(checkout, "--all") == ("2 passed, 2 failed, 2 skipped", 1)
    assert last_line(checkout, "-k", "good") == ("1 passed, 0 failed, 0 skipped", 0)


def test_skip_fails_where_shared_exists(checkout):
    (checkout.parent / "shared").mkdir()
    assert last_line(checkout) == ("1 passed, 3 failed, 1 skipped", 1)
    (checkout.parent / "shared" / "data").mkdir()
    assert last_line(checkout) == ("2 passed, 2 failed, 1 skipped", 1)


def test_skips_say_why(checkout):
    out = run(checkout)
    assert re.search(r"^SKIPPED \[1\] .*: other$", out.stdout, flags=re.MULTILINE)
    assert re.search(r"^FAILED .*test_bad", out.stdout, flags=re.MULTILINE)


def test_in_ci_only_a_gpu_and_shared_may_lack(checkout):
    assert last_line(checkout, CI="1") == ("1 passed, 3 failed, 1 skipped", 1)
    (checkout / "tests" / "test_it.py").write_text(OTHER_SKIPS)
    assert last_line(checkout) == ("0 passed, 0 failed, 3 skipped", 0)
    assert last_line(checkout, CI="1") == ("0 passed, 0 failed, 3 skipped", 0)
    (checkout / "tests" / "test_it.py").write_text("import pytest\npytest.importorskip('nothing')")
    assert last_line(checkout)[0] == "0 passed, 0 failed, 1 skipped"
    assert last_line(checkout, CI="1") == ("0 passed, 1 failed, 0 skipped", 2)


def test_ci_is_set_where_it_is_said_to_be(root):
    assert "export CI=1" in (root / ".ci/run").read_text()


def test_file_that_cannot_be_imported_is_a_failure(checkout):
    (checkout / "tests" / "test_it.py").write_text("import nothing_of_that_name\n")
    line, code = last_line(checkout)
    assert line == "0 passed, 1 failed, 0 skipped"
    assert code != 0


def test_dying_pytest_is_a_failure(checkout):
    (checkout / "tests" / "test_it.py").write_text("import os\nos._exit(0)\n")
    assert last_line(checkout) == ("0 passed, 1 failed, 0 skipped", 1)


LINES = """
import os
import subprocess
import sys

HERE = 1
if len(sys.argv) > 1:
    IN_ANOTHER_PROCESS = 1
elif os.fork() == 0:
    IN_A_FORKED_ONE = 1
    os._exit(0)
else:
    os.wait()
    subprocess.run([sys.executable, "-m", __name__, "again"], check=True)
"""


def test_coverage_counts_lines_of_all_processes(checkout):
    package = checkout / "espnet_psslm"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "half.py").write_text(LINES)
    (checkout / "tests" / "test_it.py").write_text(
        "import runpy, sys\n\ndef test_it(monkeypatch):\n"
        "    monkeypatch.setattr(sys, 'argv', sys.argv[:1])\n"
        "    import espnet_psslm.half\n"
    )
    (package / "more.py").write_text("a = 1\n" * 10)  # which nothing imports
    out = run(checkout, "--coverage", PYTHONPATH=str(checkout))
    assert out.stdout.splitlines()[-1] == "1 passed, 0 failed, 0 skipped", out.stdout + out.stderr
    # A file whose lines have all run is not listed.
    assert "half.py" not in out.stdout and re.search(r"more.py +10 +10 +0%", out.stdout)
    assert re.search(r"TOTAL +21 +10 +52%", out.stdout)
    assert out.returncode == 1 and "less than fail-under=92" in out.stdout
    assert not list(checkout.glob(".coverage*"))
