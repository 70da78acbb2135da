"""A recipe that is killed at random moments, and run again.

    python -m tests.killed_recipe --kills 20 --folder DIR

does it with the mini recipe at its smallest, from data to pack: minutes a run, with Whisper tiny.en
and SmolLM2. The long suite does it with random models.
"""

import argparse
import os
import random
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.killed import left_in
from tests.warm_python import warm_python

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 3600  # of a run
END_S = 30  # of what has been killed
LIVES = (1, 2, 3, 4)  # of a run, before it is left alone
HOW = ("all", "all", "told", "last")  # see Recipe.kill
PLACES = ("datadir", "dumpdir", "expdir")
# What says when something ran, and how long.
LOGS = {
    *("RESULTS.md", "commands.txt", "seconds.json", "peak_rss_mb.json", "tensorboard"),
    *("train.log", "decode.log", "log"),
}
MINI = {
    **{"num_train": 24, "num_sft": 4, "num_dev": 6, "num_test": 6, "num_text": 40},
    **{"voices": "espeak", "vocab_size": 120, "device": "cpu", "beam_size": 1, "outside_share": 0},
    "ctc_args": "--max_epoch 2 --num_iters_per_epoch 3 --scheduler_conf max_steps=6",
    "text_args": "--max_epoch 2 --num_iters_per_epoch 2 --scheduler_conf max_steps=4",
    "inference_args": "--max_new_tokens 4",
}


class Recipe:
    """A ``run.sh`` with all its options but the folders that it writes to.

    Args:
        command: the script and its options.
        folder: gets the folders ``datadir``, ``dumpdir``, ``expdir`` and a log.
        variables: of the environment.
    """

    def __init__(self, command: Sequence[str], folder: Path, **variables: str) -> None:
        self.folder = folder
        self.command = [*command, "--resume=true", *(f"--{n}={folder / n}" for n in PLACES)]
        self.variables = variables

    def run(self) -> float:
        """Run it to its end, which must be a good one; seconds."""
        begun = time.monotonic()
        code = self._wait(LIMIT_S, "all")
        assert code == 0, f"ended with {code}:\n{self.said()[-5000:]}"
        return time.monotonic() - begun

    def kill(self, after_s: float, how: str) -> bool:
        """Run it for so long; whether it was killed, and has not ended well before.

        Args:
            after_s: seconds.
            how: ``all``: all its processes are killed; ``last``: the one that was started last,
                as a system without memory does; ``told``: the script alone gets TERM.
        """
        code = self._wait(after_s, how)
        allowed = {"all": (-signal.SIGKILL,), "told": (128 + signal.SIGTERM,)}
        assert code in (0, *allowed.get(how, [code])), f"ended with {code}:\n{self.said()[-5000:]}"
        return code != 0

    def said(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def _wait(self, seconds: float, how: str) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "log", "w", encoding="utf-8") as log:
            script = subprocess.Popen(
                self.command, env=os.environ | self.variables, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        descriptor = os.pidfd_open(script.pid)
        try:
            if not select.select([descriptor], [], [], seconds)[0]:
                self._strike(script.pid, how)
            code = script.wait(LIMIT_S)
        finally:
            os.close(descriptor)
        end = time.monotonic() + END_S
        while left := list(members(script.pid)):
            assert time.monotonic() < end, f"still there: {left}"
            time.sleep(0.05)
        return code

    def _strike(self, script: int, how: str) -> None:
        if how == "told":
            os.kill(script, signal.SIGTERM)
            return
        alive = sorted(members(script))
        for _, pid in alive if how == "all" else alive[-1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has ended by itself


def members(session: int) -> Iterator[tuple[int, int]]:
    """When each process of a session began, and its number, without those that have ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            yield int(fields[19]), int(path.parent.name)


def check_recipe(
    recipe: Recipe, *, kills: int, seed: str, say: Callable[[str], None] = print
) -> None:
    """Compare what a recipe leaves that was killed with what it leaves where nothing disturbs it.

    Args:
        recipe: its folder is empty; what lies there in the end is of the last run.
        kills: of all runs together.
        seed: of the moments.
        say: hears what has happened.
    """
    length = recipe.run()
    wanted = left_in(recipe.folder, without=LOGS)
    say(f"{length:.0f} s undisturbed, {len(wanted)} files and folders")
    draw, killed = random.Random(seed), 0
    while killed < kills:
        shutil.rmtree(recipe.folder)
        moments = []
        for _ in range(draw.choice(LIVES)):
            moments.append((round(draw.uniform(0, length), 3), draw.choice(HOW)))
            if recipe.kill(*moments[-1]):
                killed += 1
                stage = re.findall(r" Stage (\d+):", recipe.said())[-1:]
                say(f"{killed}: {moments[-1]}, stage {''.join(stage) or 'none'}")
        recipe.run()
        left = left_in(recipe.folder, without=LOGS)
        other = sorted(n for n in left.keys() | wanted.keys() if left.get(n) != wanted.get(n))
        assert left.keys() == wanted.keys() and not other, (moments, other)
        say(f"the same {len(left)}")


def mini(python: Path, folder: Path) -> Recipe:
    """The mini recipe at its smallest."""
    options = [f"--{name}={value}" for name, value in MINI.items()]
    command = [str(ROOT / "egs2/mini/psslm1/run.sh"), f"--python={python}", *options]
    return Recipe(command, folder)


def main(cmd: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=Path, required=True, help="one that is not there yet")
    parser.add_argument("--seed", default="0")
    args = parser.parse_args(cmd)
    with warm_python() as python:
        check_recipe(mini(python, args.folder.absolute()), kills=args.kills, seed=args.seed)


if __name__ == "__main__":
    main()
