"""A machine with a simulated NPU: processes of their own, which nothing here disturbs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.npu.build import NO_COMPILER, ROOT, build_library, find_compiler, npu_environment


class Machine:
    """Runs Python programs that find an NPU.

    Args:
        environment: of the processes.
        folder: an empty one.
    """

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment = environment
        self.folder = folder

    def run(self, *arguments: str, fails: bool = False, **variables: str) -> str:
        """Run ``python arguments``, which must succeed.

        Args:
            arguments: of the interpreter.
            fails: it must fail.
            variables: more of the environment.

        Returns:
            What it wrote to standard output, or to standard error where it must fail.
        """
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
        )
        assert bool(done.returncode) == fails, done.stderr[-4000:]
        return done.stderr if fails else done.stdout

    def command(self, module: str, *arguments: str, **variables: str) -> int:
        """Run a command line of the package; returns how often it called the NPU."""
        calls = self.folder / "calls"
        calls.unlink(missing_ok=True)
        variables["SIMULATED_NPU_CALLS"] = str(calls)
        self.run("-m", f"espnet_psslm.bin.{module}", *arguments, **variables)
        return max(int(line) for line in calls.read_text().split())


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine with an NPU; skips where there is no compiler, which is a failure in CI."""
    compiler = find_compiler()
    if compiler is None:
        pytest.skip(NO_COMPILER)
    library = build_library(compiler)
    return Machine(npu_environment(library), tmp_path_factory.mktemp("npu"))
