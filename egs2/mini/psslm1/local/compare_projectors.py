#!/usr/bin/env python
"""Train every projector for the same CPU time, decode, score, and write one table.

    ./run.sh --stop_stage 10                       # data, acoustic model, simulation: once
    . ./path.sh
    python local/compare_projectors.py --cpu_s 240   # all of conf/projectors.yaml

A step of training costs more with one projector than with another: that of some batches, the same
for all, says how many batches fit into the time, and so how long the schedule is. Training is stage
11 of the recipe without fine-tuning, decoding its stage 12 with one beam. What each projector gets
is in ``exp/projectors/NAME``, the table in ``exp/projectors/table.md``; ``--projectors`` does some
of them only, and the table keeps those that are there.
"""

import argparse
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from espnet_psslm.atomic import atomic_text
from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.common.json_files import read_json, write_json, write_jsonl
from espnet_psslm.data.kaldi import read_table
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.score.files import read_answers, read_references
from espnet_psslm.score.metrics import METRICS
from espnet_psslm.score.tasks import TaskMetrics
from espnet_psslm.text.tasks import ACTION, ASR, SCENARIO

RECIPE = Path(__file__).resolve().parent.parent
TRIAL_BATCHES = 12  # that are timed
WARM_UP = 2  # batches before these
PART = "test_part"  # name of the test utterances that are decoded
TASKS = (ASR, SCENARIO, ACTION)
HEADER = (
    "| projector | parameters | batches | s | WER % [95 %] | scenario accuracy % [95 %] "
    "| action accuracy % [95 %] |\n|---|---|---|---|---|---|---|\n"
)


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--cpu_s", type=float, default=240.0, help="of training, per projector")
    parser.add_argument("--projectors", nargs="+", default=[], help="some of conf/projectors.yaml")
    parser.add_argument("--num_test", type=int, default=170, help="test utterances to decode")
    parser.add_argument("--expdir", type=Path, default=Path("exp"), help="of ./run.sh")
    parser.add_argument("--dumpdir", type=Path, default=Path("dump"), help="of ./run.sh")
    parser.add_argument("--seed", type=int, default=0, help="of training and bootstrap")
    return parser


def settings_of(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings of conf/projectors.yaml, of all or of some.

    Raises:
        ValueError: for a name that is not there.
    """
    known = yaml.safe_load((RECIPE / "conf/projectors.yaml").read_text(encoding="utf-8"))
    if unknown := set(names) - known.keys():
        raise ValueError(f"--projectors {sorted(unknown)}: conf/projectors.yaml has {list(known)}")
    return {name: known[name] for name in names or known}


def run_recipe(*options: str) -> None:
    """Call run.sh; what it prints stays visible."""
    subprocess.run(["./run.sh", "--python", sys.executable, *options], check=True)


class Comparison:
    """One projector after the other."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.folder = args.expdir / "projectors"

    def add(self, name: str, settings: dict[str, Any]) -> None:
        """Train, decode and score one.

        Args:
            name: of the projector.
            settings: what it changes in conf/train_psslm.yaml.

        Raises:
            ValueError: if a stage before is missing.
        """
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        config = yaml.safe_load(Path("conf/train_psslm.yaml").read_text(encoding="utf-8"))
        config |= {"projector": name, **settings}
        (folder / "train.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        self._lend(folder)
        options = self._options(folder, settings)
        if settings.get("step_kind") == "feature":
            run_recipe(*options, "--stage", "8", "--stop_stage", "10")
        num_batches = max(1, round(self.args.cpu_s / self._cpu_s_per_batch(folder)))
        length = f"--num_iters_per_epoch {num_batches} --scheduler_conf max_steps={num_batches}"
        run_recipe(*options, "--stage", "11", "--stop_stage", "12", "--text_args", length)
        result = {"projector": name, "batches": num_batches} | self._training(folder)
        write_json(folder / "result.json", result | self._scores(folder))

    def _options(self, folder: Path, settings: dict[str, Any]) -> list[str]:
        options = ["--expdir", str(folder), "--ctc_exp", str(self.args.expdir / "ctc")]
        options += ["--psslm_config", str(folder / "train.yaml"), "--seed", str(self.args.seed)]
        options += ["--sft", "false", "--test_sets", PART, "--beam_size", "1", "--oracle_task", ""]
        if settings.get("step_kind") == "feature":
            options += ["--train_on", "steps", "--dumpdir", str(folder / "dump")]
            options += ["--simulator", "tasu"]  # nothing is simulated, nor to be measured
        else:
            options += ["--dumpdir", str(self.args.dumpdir)]
        return options

    def _lend(self, folder: Path) -> None:
        """What stages 4, 9 and 10 made, under the names that psslm.sh expects."""
        for name in ("psslm_stats", "simulation.yaml"):
            if not (self.args.expdir / name).exists():
                raise ValueError(f"{self.args.expdir / name}: run ./run.sh --stop_stage 10 first")
        shutil.copy(self.args.expdir / "simulation.yaml", folder)
        shutil.copytree(
            self.args.expdir / "psslm_stats", folder / "psslm_stats", dirs_exist_ok=True
        )
        raw = self.args.dumpdir / "raw"
        rows = read_manifest(raw / "test/psslm.jsonl")
        utts = list(dict.fromkeys(row["utt"] for row in rows.values()))
        # Every so many of them: voices and intents stand together in the manifest.
        chosen = set(utts[:: max(1, len(utts) // self.args.num_test)][: self.args.num_test])
        (raw / PART).mkdir(exist_ok=True)
        write_jsonl(raw / PART / "psslm.jsonl", [r for r in rows.values() if r["utt"] in chosen])
        (folder / "dump").mkdir(exist_ok=True)
        link = folder / "dump/raw"
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(raw, link.parent))

    def _cpu_s_per_batch(self, folder: Path) -> float:
        """CPU seconds of one step of training, over the same batches for all projectors."""
        from espnet_psslm.tasks.psslm import PSSLMTask
        from espnet_psslm.trained import read_config

        config = read_config(folder / "psslm_stats/text/config.yaml")
        changed = yaml.safe_load((folder / "train.yaml").read_text(encoding="utf-8"))
        args = argparse.Namespace(**config | changed)
        args.collect_stats, args.simulator_conf = False, config["simulator_conf"]
        model = PSSLMTask.build_model(args)
        (optimizer,) = PSSLMTask.build_optimizers(args, model)
        spent = []
        for batch in islice(_batches(args, folder), WARM_UP + TRIAL_BATCHES):
            start = time.process_time()
            optimizer.zero_grad()
            model(**batch)[0].backward()
            optimizer.step()
            spent.append(time.process_time() - start)
        return sum(spent[WARM_UP:]) / TRIAL_BATCHES

    def _training(self, folder: Path) -> dict[str, float]:
        """Seconds of training, and the number of trained parameters."""
        import torch
        from espnet2.train.reporter import Reporter

        reporter = Reporter()
        kept = torch.load(folder / "psslm_text/checkpoint.pth", weights_only=True)
        reporter.load_state_dict(kept["reporter"])
        stats = reporter.stats[1]
        trained = torch.load(folder / "psslm_text/valid.acc.ave.pth", weights_only=True)
        count = sum(v.numel() for name, v in trained.items() if name.startswith("projector."))
        seconds = stats["train"]["time"].total_seconds()
        return {"seconds": seconds, "parameters": count, "valid_acc": stats["valid"]["acc"]}

    def _scores(self, folder: Path) -> dict[str, Any]:
        manifest = self.args.dumpdir / "raw" / PART / "psslm.jsonl"
        tasks, scores = TaskMetrics("en"), {}
        for task in TASKS:
            refs = read_references(manifest, task=task)
            hyps = read_answers(folder / f"psslm_text/decode/{PART}/{task}")
            metric = METRICS[tasks.metrics(task)[0]]
            found = metric.score(refs, hyps, language="en", seed=self.args.seed)
            scores[task] = {"rate": found.rate, "ci95": list(found.ci95)}
        return scores

    def table(self) -> str:
        """Markdown of all projectors that are done."""
        lines = []
        for name in settings_of([]):
            if (self.folder / name / "result.json").exists():
                lines.append(_line(read_json(self.folder / name / "result.json")))
        return HEADER + "".join(lines)


def _batches(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Training batches from all over the range of lengths, the same ones for all projectors."""
    from espnet_psslm.tasks.psslm import PSSLMTask

    rows = read_manifest(args.train_data_path_and_name_and_type[0][0])
    shapes = read_table(folder / "psslm_stats/text/train/length_shape")
    keys = sorted(rows, key=lambda key: (int(shapes[key].split(",")[0]), key))
    preprocess = PSSLMTask.build_preprocess_fn(args, train=True)
    collate = PSSLMTask.build_collate_fn(args, train=True)
    total = WARM_UP + TRIAL_BATCHES
    size = args.batch_size
    for index in range(total):
        start = (len(keys) - size) * index // (total - 1)
        part = keys[start : start + size]
        names, batch = collate([(key, preprocess(key, {"sample": rows[key]})) for key in part])
        yield batch | {"utt_id": names}


def _line(result: dict[str, Any]) -> str:
    """One row of the table."""
    cells = [result["projector"], f"{result['parameters'] / 1e6:.1f} M"]
    cells += [str(result["batches"]), f"{result['seconds']:.0f}"]
    for task in TASKS:
        low, high = (100 * bound for bound in result[task]["ci95"])
        cells.append(f"{100 * result[task]['rate']:.2f} [{low:.2f}, {high:.2f}]")
    return f"| {' | '.join(cells)} |\n"


def main(cmd: Sequence[str] | None = None) -> None:
    """Compare."""
    with command(get_parser(), cmd) as args:
        os.chdir(RECIPE)
        comparison = Comparison(args)
        for name, settings in settings_of(args.projectors).items():
            comparison.add(name, settings)
        table = comparison.table()
        atomic_text(comparison.folder / "table.md", table)
    logging.info("%s", comparison.folder / "table.md")
    print(table)


if __name__ == "__main__":
    main()
