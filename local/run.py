#!/usr/bin/env python3
"""Run a command with its output in a log file, once or once per job, on this machine.

    run.py [--gpu N] LOG COMMAND ...
    run.py [--max-jobs-run M] JOB=1:N LOG.JOB COMMAND ... JOB ...

The command line of Kaldi's run.pl, so that recipes and ``espnet2.bin.launch`` take it. JOB, or any
other name, is replaced in log and command. A log ends with the status of its job. Where some jobs
of an array failed, the same command runs these again, and of the others those that read files,
named in the command or in a configuration that it names, which have changed since; where all ended
well, all. TERM, INT and HUP end all jobs. Options of clusters (--mem, --num-threads, --time) are
taken and mean nothing here.
"""

import hashlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ending import end_all_when_told

from espnet_psslm.common.fingerprint import fingerprint
from espnet_psslm.inference.made_with import named_in

ARRAY = re.compile(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?")
CONFIGS = (".yaml", ".yml")
WELL = "# Ended (code 0)"
SHOWN = 20  # last lines of the log of a failed job ...
SHOWN_LOGS = 3  # ... of so many: what fails first need not be what is wrong
# What a shell would act on stands for itself: as run.pl does, a command may hold a pipe.
SHELL_WORDS = frozenset(("|", "||", "&", "&&", ";", ">", ">>", "<", "2>&1", "2>", "(", ")"))


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    options: dict[str, str]  # without dashes: num_threads -> 4
    jobs: tuple[int, ...]  # (0,) without JOB=...
    variable: str  # "" without JOB=...
    log: str
    command: tuple[str, ...]

    def words(self, job: int) -> tuple[str, ...]:
        """Log and command of one job, word by word."""
        words = (self.log, *self.command)
        if self.variable:
            words = tuple(word.replace(self.variable, str(job)) for word in words)
        return words

    def inputs(self, job: int) -> str:
        """Hash of the contents of what the command of one job names; see ``inputs_of``."""
        return inputs_of(self.words(job)[1:])

    def of(self, job: int) -> tuple[Path, str]:
        """Log and shell command of one job."""
        words = self.words(job)
        quoted = (word if word in SHELL_WORDS else shlex.quote(word) for word in words[1:])
        return Path(words[0]), " ".join(quoted)


def parse(words: Sequence[str]) -> Request:
    """Read a command line of run.pl.

    Args:
        words: arguments.

    Returns:
        The request.

    Raises:
        ValueError: if it is none.
    """
    rest = list(words)
    options: dict[str, str] = {}
    variable, jobs = "", (0,)
    while rest and (rest[0].startswith("-") or ARRAY.fullmatch(rest[0])):
        word = rest.pop(0)
        if array := ARRAY.fullmatch(word):
            variable, first = array[1], int(array[2])
            jobs = tuple(range(first, int(array[3] or first) + 1))
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals and not rest:
            raise ValueError(f"option {word} needs a value")
        options[name.replace("-", "_")] = value if equals else rest.pop(0)
    if len(rest) < 2 or not jobs:
        raise ValueError("usage: run.py [--gpu N] [JOB=1:N] LOG COMMAND ...")
    if len(jobs) > 1 and variable not in rest[0]:
        raise ValueError(f"the log {rest[0]!r} must hold {variable}: one log for each job")
    return Request(options, jobs, variable, rest[0], tuple(rest[1:]))


def inputs_of(words: Sequence[str]) -> str:
    """Hash the contents of what a command reads.

    Args:
        words: of the command. Files count, configurations with the files that they name, and
            folders with the files that lie in them; but not what follows an option
            ``--output...``: there the command writes.
    """
    digest = hashlib.sha256()
    for before, word in zip(("", *words), words, strict=False):
        if not before.startswith("--output"):
            digest.update(f"{word}\0{content_of(word)}\0".encode())
    return digest.hexdigest()[:16]


@cache
def content_of(word: str) -> str:
    """Hash of what lies under a name, "" where there is nothing; jobs share most names."""
    if os.path.isdir(word):
        paths = (os.path.join(word, name) for name in sorted(os.listdir(word)))
        return fingerprint({}, {path: path for path in paths if os.path.isfile(path)})
    if not os.path.isfile(word):
        return ""
    named = named_in(word) if word.endswith(CONFIGS) else {}
    return fingerprint({}, {"file": word, "named": named})


def run_job(log: Path, command: str, inputs: str, told: Sequence[int]) -> int:
    """Run one command.

    Args:
        log: gets the command, its output and its status.
        command: for bash.
        inputs: hash of what it reads.
        told: signals that have come by the time it ends: what they end may say that all is well.

    Returns:
        Exit status.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.time()
    with open(log, "w", encoding="utf-8") as stream:
        head = f"# {command}\n# Started at {time.ctime(started)}\n# Inputs {inputs}"
        print(head, file=stream, flush=True)
        code = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"], stdout=stream, stderr=stream, check=False
        ).returncode
        code = 128 + told[0] if told else code
        seconds = int(time.time() - started)
        print(f"# Accounting: time={seconds} threads=1", file=stream)
        ended = f"at {time.ctime()}, elapsed time {seconds} seconds"
        print(f"# Ended (code {code}) {ended}", file=stream)
    return code


def ended_well(log: Path, command: str) -> str | None:
    """Hash of what was read, if a log is that of this command and ended with status 0."""
    if not log.is_file():
        return None
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if len(lines) < 4 or lines[0] != f"# {command}" or not lines[-1].startswith(WELL):
        return None
    return lines[2].removeprefix("# Inputs ")


def say_failures(name: str, failed: Sequence[tuple[int, Path, int]], num_jobs: int) -> None:
    """Say which jobs failed and show the end of the first logs.

    Args:
        name: of the script.
        failed: job, log, status.
        num_jobs: of the array.
    """
    for job, log, code in failed:
        which = f"job {job}" if num_jobs > 1 else "the job"
        print(f"{name}: {which} failed with status {code}, log in {log}", file=sys.stderr)
    for _, log, _ in failed[:SHOWN_LOGS]:
        if log.is_file():
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN:]
            print(f"{name}: the end of {log}:", *lines, sep="\n", file=sys.stderr)
    if num_jobs > 1:
        again = "the same command runs only these again"
        print(f"{name}: {len(failed)} of {num_jobs} jobs failed; {again}", file=sys.stderr)


def say_told(name: str, number: int) -> None:
    """Say that a signal has ended the jobs.

    Args:
        name: of the script.
        number: of the signal.
    """
    again = "the same command runs what has not ended well"
    print(f"{name}: ended by {signal.Signals(number).name}; {again}", file=sys.stderr)


def left_to_run(request: Request, *, name: str = "run.py") -> list[tuple[int, Path, str]]:
    """Choose the jobs to run: all, or those of an array that have not ended well.

    What has, but read other contents than the files have now, counts as not ended.

    Args:
        request: what was asked for.
        name: of the script.

    Returns:
        Job, log and command of each.
    """
    jobs = [(job, *request.of(job)) for job in request.jobs]
    made_of = [ended_well(log, command) for _, log, command in jobs]
    if None not in made_of:
        return jobs
    left = [
        job
        for job, inputs in zip(jobs, made_of, strict=True)
        if inputs is None or inputs != request.inputs(job[0])
    ]
    if len(left) < len(jobs):
        numbers = " ".join(str(job) for job, *_ in left)
        print(f"{name}: the other jobs have ended well, left are {numbers}", file=sys.stderr)
    return left


def main(cmd: Sequence[str] | None = None) -> int:
    """Run all jobs.

    Args:
        cmd: arguments; None reads the command line.

    Returns:
        Exit status: 1 if a job failed.
    """
    try:
        request = parse(sys.argv[1:] if cmd is None else cmd)
        width = int(request.options.get("max_jobs_run", len(request.jobs)))
    except ValueError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 1
    wanted = left_to_run(request)
    told = end_all_when_told()

    def run_one(item: tuple[int, Path, str]) -> int:
        # What had to wait for its turn is not started any more.
        return 128 + told[0] if told else run_job(*item[1:], request.inputs(item[0]), told)

    with ThreadPoolExecutor(max(width, 1)) as pool:
        codes = list(pool.map(run_one, wanted))
    if told:
        say_told("run.py", told[0])
        return 128 + told[0]
    failed = [
        (job, log, code) for (job, log, _), code in zip(wanted, codes, strict=True) if code != 0
    ]
    if failed:
        say_failures("run.py", failed, len(request.jobs))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
