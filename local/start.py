#!/usr/bin/env python3
"""Start a training, or a decoding, as the recipe's cmd.sh says.

    start.py train --cmd "$train_cmd" --log exp/ctc/train.log [--ngpu 2] -- COMMAND ...
    start.py decode --cmd "$decode_cmd" [--nj 4] [--gpu 1] -- COMMAND ...

``--cmd`` is empty: the command runs here; a prefix (``srun --gpus=1``); or a script with run.pl's
command line, whose name ends in .py or .pl, which is given a log. The command's first word is the
interpreter.

A training on several devices goes through ESPnet's launcher, which needs such a script.

A decoding in several jobs: each gets its part of the command's ``--data_dir``, or of the folder of
its ``--manifest``, and their outputs are joined in its ``--output_dir``. Jobs on this machine share
its cores.
"""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

RUN = Path(__file__).absolute().with_name("run.py")
SCRIPTS = (".py", ".pl")  # with run.pl's command line
JOB = "PSSLM_JOB"  # in whose place the script puts the number of the job
MODULE = "espnet_psslm.bin"


def train_words(
    cmd: str, command: Sequence[str], *, log: str, ngpu: int, num_nodes: int
) -> list[str]:
    """What starts a training.

    Args:
        cmd: of cmd.sh.
        command: of the training.
        log: file.
        ngpu: devices of a machine.
        num_nodes: machines.

    Raises:
        ValueError: if several devices are asked of what cannot start them.
    """
    if ngpu > 1 or num_nodes > 1:
        cmd = cmd or shlex.quote(str(RUN))
        script = shlex.split(cmd)[0]
        only_here = script.endswith(("run.py", "run.pl"))
        if not script.endswith(SCRIPTS) or (only_here and num_nodes > 1):
            raise ValueError(
                f"--ngpu {ngpu} --num_nodes {num_nodes}: set train_cmd in cmd.sh to "
                f"../../../local/slurm.py, or on one machine to run.py; it is '{cmd}'"
            )
        return [
            *(command[0], "-m", "espnet2.bin.launch", "--cmd", cmd, "--log", log),
            *("--ngpu", str(ngpu), "--num_nodes", str(num_nodes)),
            *("--init_file_prefix", f"{Path(log).parent}/.dist_init_"),
            *("--multiprocessing_distributed", "true", "--", *command),
        ]
    return logged(shlex.split(cmd), log, [*command, "--ngpu", str(ngpu)], gpus=ngpu)


def logged(
    launcher: Sequence[str], log: str, command: Sequence[str], *, gpus: int | None
) -> list[str]:
    """A command after what launches it: a script is asked for GPUs and given a log."""
    if not launcher or not launcher[0].endswith(SCRIPTS):
        return [*launcher, *command]
    asked = [] if gpus is None else ["--gpu", str(gpus)]
    return [launcher[0], *asked, *launcher[1:], log, *command]


def value_of(command: Sequence[str], *options: str) -> str:
    """The word after one of some options."""
    return next(
        word for option, word in zip(command, command[1:], strict=False) if option in options
    )


def job_words(command: Sequence[str], output: str) -> list[str]:
    """The command of one job: with its part of the data, and a folder of its own."""
    words = list(command)
    for place, option in enumerate(command):
        if option == "--data_dir":
            words[place + 1] = f"{output}/split/{JOB}"
        elif option == "--manifest":
            words[place + 1] = f"{output}/split/{JOB}/{Path(command[place + 1]).name}"
        elif option == "--output_dir":
            words[place + 1] = f"{output}/jobs/{JOB}"
    # What all jobs have left out is judged where they are joined.
    return [*words, "--judge_skipped", "false"]


def array_words(
    launcher: Sequence[str], command: Sequence[str], *, jobs: int, output: str, gpus: int | None
) -> list[str]:
    """What starts an array of jobs."""
    prefix: Sequence[str] = []
    if not launcher or not launcher[0].endswith(SCRIPTS):
        launcher, prefix = [str(RUN)], launcher
    array = [*launcher, f"{JOB}=1:{jobs}"]
    words = [*prefix, *job_words(command, output)]
    return logged(array, f"{output}/decode.{JOB}.log", words, gpus=gpus)


def share_cores(jobs: int) -> None:
    """Give each job of this machine its threads; else each would take all, and wait for others."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if not os.environ.get("OMP_NUM_THREADS"):
        os.environ["OMP_NUM_THREADS"] = str(max(1, (cores or 1) // jobs))


def decode(cmd: str, command: Sequence[str], *, nj: int, gpus: int | None) -> None:
    """Decode, in jobs if need be.

    Args:
        cmd: of cmd.sh.
        command: of the decoding.
        nj: jobs, at most.
        gpus: that each job asks for; None: nobody asks.

    Raises:
        subprocess.CalledProcessError: if something ends with another status than 0.
    """
    launcher, output = shlex.split(cmd), value_of(command, "--output_dir")
    manifest = Path(value_of(command, "--data_dir", "--manifest"))
    data = manifest.parent if manifest.suffix == ".jsonl" else manifest
    jobs = 1
    if nj > 1:
        split = [command[0], "-m", f"{MODULE}.split_data", "--data_dir", str(data)]
        split += ["--nj", str(nj), "--output_dir", f"{output}/split"]
        jobs = int(subprocess.run(split, check=True, stdout=subprocess.PIPE, text=True).stdout)
    if jobs == 1:
        words = logged(launcher, f"{output}/decode.log", command, gpus=gpus)
        subprocess.run(words, check=True)
        return
    words = array_words(launcher, command, jobs=jobs, output=output, gpus=gpus)
    if words[0].endswith("/run.py"):
        share_cores(jobs)
    subprocess.run(words, check=True)
    join = [command[0], "-m", f"{MODULE}.join_jobs", "--data_dir", str(data), "--nj", str(jobs)]
    subprocess.run([*join, "--output_dir", output], check=True)


def main(cmd: Sequence[str] | None = None) -> int:
    """Start it.

    Args:
        cmd: arguments; None reads the command line.

    Returns:
        Exit status.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "decode"))
    parser.add_argument("--cmd", default="", help="of cmd.sh")
    parser.add_argument("--log", help="of a training")
    parser.add_argument("--ngpu", type=int, default=0, help="devices of a machine, for training")
    parser.add_argument("--num_nodes", type=int, default=1, help="machines, for training")
    parser.add_argument("--nj", type=int, default=1, help="jobs of a decoding, at most")
    parser.add_argument("--gpu", type=int, help="that each decoding asks its script for")
    words = list(sys.argv[1:] if cmd is None else cmd)
    cut = words.index("--")
    args, command = parser.parse_args(words[:cut]), words[cut + 1 :]
    try:
        if args.what == "decode":
            decode(args.cmd, command, nj=args.nj, gpus=args.gpu)
        else:
            options = {"log": args.log, "ngpu": args.ngpu, "num_nodes": args.num_nodes}
            subprocess.run(train_words(args.cmd, command, **options), check=True)
    except (ValueError, OSError) as error:
        print(f"start.py: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:  # it has said why
        return error.returncode if error.returncode > 0 else 128 - error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
