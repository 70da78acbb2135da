#!/usr/bin/env python3
"""Run a command, or an array of jobs, on a Slurm cluster, with its output in a log file.

    slurm.py [--gpu N] [--mem 16G] [--time 24:00:00] [--partition NAME] LOG COMMAND ...
    slurm.py [--max-jobs-run M] JOB=1:N LOG.JOB COMMAND ... JOB ...

The command line of Kaldi's slurm.pl, as ``run.py`` beside it has that of run.pl; submitit does the
submitting. Each job runs ``run.py`` on its node: logs look alike, and where some jobs of an array
failed the same command runs these again, as ``run.py`` has it. --gpu, --num-threads, --mem, --time,
--num-nodes, --name and --max-jobs-run are read, every other option goes to sbatch; without --time
a job may take two days. submitit's own files lie in ``submitit/`` beside the log, which all nodes
must see. TERM, INT and HUP cancel the jobs. ``--cluster local`` runs the jobs here, as a test of
the same way.

With ``--num-nodes`` each node runs the command once, the second with the log LOG.1.
``espnet2.bin.launch`` knows Kaldi's scripts by their names and starts others through mpirun: that
is left out here, since Slurm starts them itself.

Needs ``pip install submitit``.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from ending import end_all_when_told
from run import Request, ended_well, left_to_run, parse, say_failures, say_told

if TYPE_CHECKING:
    from submitit import AutoExecutor, Job

NAME = "slurm.py"
POLL_S = 0.5
RUN = Path(__file__).resolve().with_name("run.py")
MEMORY_GB = {"K": 2**-20, "M": 2**-10, "G": 1.0, "T": 2**10, "": 2**-10}
TWO_DAYS = 2 * 24 * 60  # minutes
# Every node but the first gets a log of its own.
ON_NODE = 'n=${SLURM_PROCID:-0}; exec "$0" "$1" "$2$([ "$n" = 0 ] || echo ".$n")" "${@:3}"'
# What Slurm tells each node, for those that --cluster local plays.
AS_NODE = (
    "export SLURM_PROCID=$SUBMITIT_LOCAL_GLOBALID SLURM_NODEID=$SUBMITIT_LOCAL_GLOBALID "
    "SLURM_NTASKS=$SUBMITIT_LOCAL_NTASKS SLURM_STEP_NUM_NODES=$SUBMITIT_LOCAL_NTASKS "
    "SLURM_STEP_NODELIST=localhost SLURM_LOCALID=0; "
)
TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def minutes(text: str) -> int:
    """Read Slurm's time: ``minutes``, ``minutes:seconds``, ``hours:minutes:seconds``, ``days-...``.

    Raises:
        ValueError: if it is none.
    """
    match = TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"--time {text}: write minutes, hours:minutes:seconds or days-hours")
    days, *parts = match.groups()
    first, second, third = (int(part or 0) for part in parts)
    if days is not None:
        seconds = 86400 * int(days) + 3600 * first + 60 * second + third
    elif parts[2] is not None:
        seconds = 3600 * first + 60 * second + third
    else:
        seconds = 60 * first + second
    return -(-seconds // 60)


def memory_gb(text: str) -> float:
    """Read Slurm's memory, ``16G``; a bare number counts megabytes.

    Raises:
        ValueError: if it is none.
    """
    match = re.fullmatch(r"(\d+)([KMGT]?)", text.upper())
    if match is None:
        raise ValueError(f"--mem {text}: write a number and K, M, G or T")
    return int(match[1]) * MEMORY_GB[match[2]]


def parameters(request: Request) -> dict[str, Any]:
    """submitit's parameters of a request.

    Raises:
        ValueError: if an option cannot be read.
    """
    options = dict(request.options)
    nodes = int(options.pop("num_nodes", 1))
    is_local = options.pop("cluster", "") == "local"  # one node, which stands for all
    found: dict[str, Any] = {
        "name": options.pop("name", Path(request.command[0]).name),
        "nodes": 1 if is_local else nodes,
        "tasks_per_node": nodes if is_local else 1,
        "cpus_per_task": int(options.pop("num_threads", 1)),
        "slurm_array_parallelism": int(options.pop("max_jobs_run", len(request.jobs))),
    }
    if gpus := int(options.pop("gpu", 0)):
        found["gpus_per_node"] = gpus
    if memory := options.pop("mem", ""):
        found["mem_gb"] = memory_gb(memory)
    time = options.pop("time", "")
    found["timeout_min"] = minutes(time) if time else TWO_DAYS
    if options:
        found["slurm_additional_parameters"] = options
    return found


def without_launcher(request: Request) -> Request:
    """The request with the command that Slurm itself is to start on every node."""
    command = list(request.command)
    if command[:2] == ["mpirun", "-np"]:
        command = ["slurm" if word == "mpi" else word for word in command[3:]]
    return Request(request.options, request.jobs, request.variable, request.log, tuple(command))


def submit(executor: "AutoExecutor", request: Request, numbers: Sequence[int]) -> list["Job"]:
    """Submit jobs as one array.

    Args:
        executor: with its parameters set.
        request: what was asked for.
        numbers: the jobs.
    """
    from submitit.helpers import CommandFunction

    jobs = []
    script = AS_NODE + ON_NODE if request.options.get("cluster") == "local" else ON_NODE
    with executor.batch():
        for number in numbers:
            words = ["bash", "-c", script, sys.executable, str(RUN), *request.words(number)]
            jobs.append(executor.submit(CommandFunction(words, verbose=False, cwd=Path.cwd())))
    return jobs


def cancel(job_ids: Sequence[str]) -> None:
    """Take jobs from the cluster.

    Args:
        job_ids: of jobs, ``7``, or of parts of arrays, ``7_0``; the whole array goes.
    """
    arrays = dict.fromkeys(job_id.partition("_")[0] for job_id in job_ids)
    subprocess.run(["scancel", *arrays], check=False)


def main(cmd: Sequence[str] | None = None) -> int:
    """Run all jobs.

    Args:
        cmd: arguments; None reads the command line.

    Returns:
        Exit status: 1 if a job failed.
    """
    try:
        import submitit

        request = without_launcher(parse(sys.argv[1:] if cmd is None else cmd))
        cluster = request.options.get("cluster", "slurm")
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise ValueError("sbatch is not on PATH: use run.py, or --cluster local")
        folder = request.of(request.jobs[0])[0].parent / "submitit"
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(**parameters(request))
    except ImportError:
        print(f"{NAME}: submitit is missing: pip install submitit", file=sys.stderr)
        return 1
    except (TypeError, ValueError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    wanted = left_to_run(request, name=NAME)
    told = end_all_when_told()
    jobs = submit(executor, request, [number for number, *_ in wanted])
    while not told and not all(job.done() for job in jobs):
        time.sleep(POLL_S)
    if told:
        if cluster == "slurm":  # those of --cluster local have ended with this process's children
            cancel([job.job_id for job in jobs])
        say_told(NAME, told[0])
        return 128 + told[0]
    failed = []
    for job, (number, log, command) in zip(jobs, wanted, strict=True):
        # A job that Slurm killed has no end in its log.
        if job.exception() is not None or ended_well(log, command) is None:
            failed.append((number, log, 1))
    if failed:
        say_failures(NAME, failed, len(request.jobs))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
