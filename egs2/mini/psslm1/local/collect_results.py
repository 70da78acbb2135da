"""Score every hypothesis of the recipe; write results.json and RESULTS.md (stage 13).

    python local/collect_results.py --expdir exp --raw_dir dump/raw --ctc_exp exp/ctc \\
        --test_sets test test_real --sft true --seed 0

Reads ``decode/<set>`` of the CTC model and of the bridges, and references from
``<raw_dir>/<set>/psslm.jsonl``. Rates are fractions. Names of figures: ``ctc_wer``; ``asr_wer``,
``scenario_acc``, ``action_acc`` of the text-only bridge, with ``_sft`` of the fine-tuned one;
``asr_wer_oracle`` fed with the noise-free simulation of the true transcript. ``errors`` holds the
counts behind each error rate, ``unseen`` the same figures on templates never seen in training.
``slu_f1`` and ``slu_unparsable`` are there where the data have rows of task SLU_entities.
"""

import argparse
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import results_table

from espnet_psslm.bin.collect_results import get_parser, write_results
from espnet_psslm.bin.command import command
from espnet_psslm.common.json_files import read_json
from espnet_psslm.score.classification import accuracy
from espnet_psslm.score.error_rate import error_rate
from espnet_psslm.score.files import read_answers, read_references
from espnet_psslm.score.slu import slu_score_of_lines
from espnet_psslm.score.tasks import can_be_scored
from espnet_psslm.text.tasks import ACTION, ASR, ENTITIES, SCENARIO

# Task of the prompt file -> name in results.json.
LABEL_TASKS = {SCENARIO: "scenario", ACTION: "action"}
# Present in every set, null where there was nothing to score.
FIGURES = (
    *("ctc_wer", "asr_wer", "asr_wer_oracle", "asr_wer_sft"),
    *(
        f"{label}_{kind}"
        for label in LABEL_TASKS.values()
        for kind in ("acc", "majority", "acc_sft")
    ),
)
UNSEEN = {"seen_template": "false"}


@dataclass(frozen=True)
class System:
    """One set of hypotheses."""

    folder: Path  # holds decode/<set>[_oracle]
    suffix: str  # of its figures in results.json


def answers_to(refs: Mapping[str, str], decoded: Path) -> dict[str, str]:
    """Read the answers that have a reference."""
    return {key: text for key, text in read_answers(decoded).items() if key in refs}


def score_text(
    figures: dict[str, Any], name: str, refs: Mapping[str, str], decoded: Path, *, seed: int
) -> None:
    """Add word and character error rate of the answers in one folder.

    Args:
        figures: of the set, gets ``name`` with ``wer`` and ``cer``, intervals and counts.
        name: with ``{}`` in place of the metric.
        refs: key -> reference.
        decoded: holds ``1best_recog``; keys without a reference are left out.
        seed: of the bootstrap.
    """
    hyps = answers_to(refs, decoded)
    for unit, metric in (("word", "wer"), ("char", "cer")):
        score = error_rate(refs, hyps, unit=unit, seed=seed)
        key = name.format(metric)
        figures[key] = score.rate
        figures["ci95"][key] = list(score.ci95)
        figures["errors"][key] = {
            "sub": score.num_sub,
            "del": score.num_del,
            "ins": score.num_ins,
            "ref": score.num_ref,
            "missing_utts": score.num_missing,
        }


def score_labels(
    figures: dict[str, Any],
    name: str,
    suffix: str,
    refs: Mapping[str, str],
    decoded: Path,
    *,
    seed: int,
) -> None:
    """Add accuracy and majority class of the answers in one folder; null for a set of one class.

    Args:
        figures: of the set.
        name: scenario or action.
        suffix: of the system.
        refs: key -> label, possibly none.
        decoded: holds ``1best_recog``; keys without a reference are left out.
        seed: of the bootstrap.
    """
    key = f"{name}_acc{suffix}"
    if len(set(refs.values())) < 2:
        figures[key] = figures[f"{name}_majority"] = None
        return
    hyps = answers_to(refs, decoded)
    score = accuracy(refs, hyps, seed=seed)
    figures[key] = score.rate
    figures[f"{name}_majority"] = score.majority_rate
    figures["ci95"][key] = list(score.ci95)


def score_entities(
    figures: dict[str, Any], suffix: str, refs: Mapping[str, str], decoded: Path, *, seed: int
) -> None:
    """Add SLU-F1 of the answers in one folder, where there is anything to score.

    Args:
        figures: of the set.
        suffix: of the system.
        refs: key -> answer in one line, possibly none.
        decoded: holds ``1best_recog``; keys without a reference are left out.
        seed: of the bootstrap.
    """
    if not can_be_scored("slu", refs.values()):
        return
    score = slu_score_of_lines(refs, answers_to(refs, decoded), seed=seed)
    figures[f"slu_f1{suffix}"] = score.rate
    figures[f"slu_unparsable{suffix}"] = score.num_unparsable
    figures["ci95"][f"slu_f1{suffix}"] = list(score.ci95)


def score_set(
    manifest: Path,
    name: str,
    *,
    ctc_exp: Path,
    systems: Sequence[System],
    oracle: bool,
    where: Mapping[str, str],
    seed: int,
) -> dict[str, Any]:
    """Score all systems on one set, or on the part of it that ``where`` picks.

    Args:
        manifest: references.
        name: of the set.
        ctc_exp: acoustic model, holds decode/<set>.
        systems: bridges.
        oracle: whether the first is fed with the true transcript too.
        where: manifest fields and values, see ``read_references``.
        seed: of the bootstrap.

    Returns:
        Figures by name.
    """
    refs = read_references(manifest, task=ASR, where=where)
    by_utt = read_references(manifest, task=ASR, key_field="utt", where=where)
    figures: dict[str, Any] = dict.fromkeys(FIGURES)
    figures |= {"n_utts": len(refs), "n_words": 0, "ci95": {}, "errors": {}}
    score_text(figures, "ctc_{}", by_utt, ctc_exp / "decode" / name, seed=seed)
    figures["n_words"] = figures["errors"]["ctc_wer"]["ref"]
    for system in systems:
        decoded = system.folder / "decode" / name
        score_text(figures, "asr_{}" + system.suffix, refs, decoded / ASR, seed=seed)
        for task, label in LABEL_TASKS.items():
            labels = read_references(manifest, task=task, where=where)
            score_labels(figures, label, system.suffix, labels, decoded / task, seed=seed)
        answers = read_references(manifest, task=ENTITIES, where=where)
        score_entities(figures, system.suffix, answers, decoded / ENTITIES, seed=seed)
    if oracle:
        decoded = systems[0].folder / "decode" / f"{name}_oracle" / ASR
        score_text(figures, "asr_{}_oracle", refs, decoded, seed=seed)
    return figures


def has_unseen(manifest: Path) -> bool:
    """Tell whether the rows of a manifest say which templates were seen."""
    with open(manifest, encoding="utf-8") as lines:
        return f'"{next(iter(UNSEEN))}"' in next(lines, "")


def git_commit() -> str:
    """Return the commit of the checkout, ``-dirty`` where tracked files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        out = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return out.stdout.strip()


def cpu_name() -> str:
    """Return model and number of usable processors."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = names[0] if names else name
    return f"{name}, {len(os.sched_getaffinity(0))} processors"


def collect(args: argparse.Namespace) -> dict[str, Any]:
    """Score every set and gather what describes the run.

    Returns:
        Content of results.json.
    """
    systems = [System(args.expdir / "psslm_text", "")]
    if args.sft:
        systems.append(System(args.expdir / "psslm_sft", "_sft"))
    results: dict[str, Any] = dict.fromkeys(results_table.SETS)
    for name in [*args.test_sets, *args.plain_test_sets]:
        manifest = args.raw_dir / name / "psslm.jsonl"
        whole = name in args.test_sets
        options = {"ctc_exp": args.ctc_exp, "oracle": whole, "seed": args.seed}
        options["systems"] = systems if whole else systems[:1]
        results[name] = score_set(manifest, name, where={}, **options)
        if has_unseen(manifest):
            results[name]["unseen"] = score_set(manifest, name, where=UNSEEN, **options)
    stats = read_json(systems[0].folder / "decode" / args.test_sets[0] / ASR / "stats.json")
    peaks = read_json(args.expdir / "peak_rss_mb.json")
    results |= {
        "seconds": read_json(args.expdir / "seconds.json"),
        "rtf": stats["wall_s"] / stats["audio_s"],
        "peak_rss_mb": max(peaks.values()),
        "seed": args.seed,
        "commit": git_commit(),
        "cpu": cpu_name(),
    }
    return results


def main(cmd: Sequence[str] | None = None) -> None:
    """Score, write, and print if asked to."""
    with command(get_parser(__doc__), cmd) as args:
        results = collect(args)
        write_results(args.expdir, results, results_table.render, print_table=args.print_table)


if __name__ == "__main__":
    main()
