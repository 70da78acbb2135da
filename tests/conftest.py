"""Fixtures of all tests, and the counts that tests/run.sh prints."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import PROMPTS, save_language_model, save_units, write_jsonl

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
NO_SHARED = "needs the folder ../shared beside the checkout"

# From harmless to grave: a test whose teardown fails counts as failed though its call passed.
SEVERITY = ("passed", "skipped", "failed")
outcomes: dict[str, str] = {}


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data, ``../shared/data``; skips where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(NO_SHARED)
    return folder


@pytest.fixture(scope="session")
def lm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random language model with its tokenizer."""
    return save_language_model(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="session")
def units_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tokens.txt`` and ``bpe.model`` of a tiny CTC vocabulary."""
    return save_units(tmp_path_factory.mktemp("units"))


@pytest.fixture(scope="session")
def prompt_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prompt file with two prompts of ASR, one of SLU_scenario and one with a field."""
    return write_jsonl(tmp_path_factory.mktemp("prompts") / "prompts.jsonl", PROMPTS)


def _forbid_skip(
    report: pytest.TestReport | pytest.CollectReport, node: pytest.Item | pytest.Collector
) -> None:
    """Make a skip a failure where what it asks for is there, or is to be there."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    if NO_SHARED in str(report.longrepr):
        fault = f"{SHARED} exists" if SHARED.is_dir() else None
    else:  # a GPU is what the test environment cannot install
        needs_gpu = node.get_closest_marker("requires_cuda") is not None
        fault = "CI is set" if os.environ.get("CI") and not needs_gpu else None
    if fault is not None:
        report.longrepr = f"{node.nodeid} skipped though {fault}: {report.longrepr}"
        report.outcome = "failed"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Look at the skip of a test."""
    report = yield
    _forbid_skip(report, item)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Look at the skip of a file."""
    report = yield
    _forbid_skip(report, collector)
    return report


def _note(node_id: str, outcome: str) -> None:
    worst = max(outcomes.get(node_id, "passed"), outcome, key=SEVERITY.index)
    outcomes[node_id] = worst


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the gravest outcome of each test."""
    _note(report.nodeid, report.outcome)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Count a file that cannot be imported as failed, and a skipped one as skipped."""
    if report.outcome != "passed":
        _note(report.nodeid, report.outcome)


def pytest_unconfigure() -> None:
    """Hand the counts to tests/run.sh, which prints them after pytest's own last line."""
    if target := os.environ.get("PSSLM_TEST_COUNTS"):
        counts = Counter(outcomes.values())
        line = ", ".join(f"{counts[name]} {name}" for name in ("passed", "failed", "skipped"))
        Path(target).write_text(line + "\n", encoding="utf-8")
