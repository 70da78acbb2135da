"""Score every hypothesis of a recipe; write results.json and RESULTS.md (stage 13).

    python -m espnet_psslm.bin.collect_results --expdir exp --raw_dir dump/raw --ctc_exp exp/ctc \\
        --test_sets test --sft true --language en --seed 0

Every task of ``<raw_dir>/<set>/psslm.jsonl`` is scored: transcripts by WER and CER (CER alone in
languages without spaces between words), once more under Whisper's normalisation as the Open ASR
leaderboard counts, translations (EN2DE) by BLEU and chrF, scenario and action by accuracy,
SLU_entities by SLURP's metrics, others as their lines in ``--prompt_file`` say. Where there are two
bridges they are compared on every task. With NIST's sclite on PATH, its alignments are in
``decode/<set>/score_wer/result.txt``.
"""

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet2.utils.types import str2bool

from espnet_psslm.atomic import atomic_text
from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.common.json_files import read_json, write_json
from espnet_psslm.common.lines import read_lines
from espnet_psslm.data.labelled import MANIFEST
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.score.files import read_answers, read_references
from espnet_psslm.score.metrics import METRICS
from espnet_psslm.score.paired import compare
from espnet_psslm.score.report import WHISPER, environment, render
from espnet_psslm.score.sclite import write_sclite
from espnet_psslm.score.tasks import TaskMetrics, can_be_scored
from espnet_psslm.text.tasks import ASR


class Collector:
    """Scores of one set after the other."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.tasks = TaskMetrics.of_file(args.language, args.prompt_file)
        self.bridges = [args.expdir / "psslm_text"]
        if args.sft:
            self.bridges.append(args.expdir / "psslm_sft")
        self.scores: list[dict[str, Any]] = []
        self.comparisons: list[dict[str, Any]] = []

    def add_set(self, name: str, bridges: Sequence[Path]) -> None:
        """Score the acoustic model and bridges on one test set.

        Args:
            name: of the set.
            bridges: their folders; two are compared.

        Raises:
            ValueError: if hypotheses are missing or do not belong to the set.
        """
        manifest = self.args.raw_dir / name / MANIFEST
        rows = read_manifest(manifest).values()
        tasks = sorted({row["task"] for row in rows})
        is_spoken = any("path" in row for row in rows)
        decoded = self.args.ctc_exp / "decode"
        if ASR in tasks and not decoded.exists():
            logging.info("%s: %s: the acoustic model alone was not decoded", name, decoded)
        elif ASR in tasks and is_spoken:
            by_utt = read_references(manifest, task=ASR, key_field="utt")
            hyps = read_answers(decoded / name)
            # The acoustic model has transcribed utterances of all tasks.
            hyps = {utt: text for utt, text in hyps.items() if utt in by_utt}
            self._score(self.args.ctc_exp, name, ASR, by_utt, hyps)
        for task in tasks:
            refs = read_references(manifest, task=task)
            if not can_be_scored(self.tasks.metrics(task)[0], refs.values()):
                logging.info("%s: task %s has no entities to score", name, task)
                continue
            answers = [read_answers(bridge / "decode" / name / task) for bridge in bridges]
            for bridge, hyps in zip(bridges, answers, strict=True):
                self._score(bridge, name, task, refs, hyps)
            if len(answers) == 2:
                self._compare(name, task, refs, *answers)

    def _score(
        self,
        system: Path,
        name: str,
        task: str,
        refs: Mapping[str, str],
        hyps: Mapping[str, str],
    ) -> None:
        metrics, language = self.tasks.metrics(task), self.tasks.language(task)
        place = {"system": str(system), "set": name, "task": task, "language": language}
        options = {"language": language, "seed": self.args.seed}
        folder = system / "decode" / name / ("" if task == ASR else task)
        for metric in metrics:
            result = METRICS[metric].score(refs, hyps, **options).as_dict()
            self.scores.append(place | result)
            if METRICS[metric].lower_is_better:
                aligned = folder / f"score_{metric}"
                write_sclite(aligned, refs, hyps, metric=metric, language=language)
        if METRICS[metrics[0]].lower_is_better:
            result = METRICS[metrics[0]].score(refs, hyps, normalizer="whisper", **options)
            self.scores.append(place | result.as_dict() | {"metric": f"{metrics[0]}{WHISPER}"})

    def _compare(
        self,
        name: str,
        task: str,
        refs: Mapping[str, str],
        hyps_a: Mapping[str, str],
        hyps_b: Mapping[str, str],
    ) -> None:
        metric, language = self.tasks.metrics(task)[0], self.tasks.language(task)
        result = compare(
            refs, hyps_a, hyps_b, metric=metric, language=language, seed=self.args.seed
        )
        systems = {"a": str(self.bridges[0]), "b": str(self.bridges[1])}
        self.comparisons.append(systems | {"set": name, "task": task} | result.as_dict())


def get_parser(description: str | None = __doc__) -> argparse.ArgumentParser:
    """Return the options that every recipe's collector has.

    Args:
        description: of the command.
    """
    parser = new_parser(description)
    parser.add_argument("--expdir", type=Path, required=True)
    parser.add_argument("--raw_dir", type=Path, required=True)
    parser.add_argument("--ctc_exp", type=Path, required=True)
    parser.add_argument("--test_sets", nargs="+", required=True)
    parser.add_argument(
        "--plain_test_sets",
        nargs="*",
        default=[],
        help="further sets, which the text-only bridge has answered alone",
    )
    parser.add_argument("--sft", type=str2bool, default=True)
    parser.add_argument("--seed", type=int, required=True, help="of the bootstrap")
    parser.add_argument("--print_table", type=str2bool, default=False)
    return parser


def write_results(
    expdir: Path,
    results: Mapping[str, Any],
    render_table: Callable[..., str],
    *,
    print_table: bool,
) -> None:
    """Write results.json and RESULTS.md.

    Args:
        expdir: where to; its ``commands.txt`` is named in the table.
        results: plain types.
        render_table: of the results and ``commands``.
        print_table: to the standard output as well.
    """
    commands = [line for _, line in read_lines(expdir / "commands.txt")]
    table = render_table(results, commands=commands)
    write_json(expdir / "results.json", results)
    atomic_text(expdir / "RESULTS.md", table)
    if print_table:
        print(table)


def main(cmd: Sequence[str] | None = None) -> None:
    """Score, write, and print if asked to."""
    parser = get_parser()
    parser.add_argument("--language", default="en", help="of the speech")
    parser.add_argument("--prompt_file", help='its lines may say the "metric" of their task')
    with command(parser, cmd) as args:
        collector = Collector(args)
        for name in args.test_sets:
            collector.add_set(name, collector.bridges)
        for name in args.plain_test_sets:
            collector.add_set(name, collector.bridges[:1])
        results = {
            "environment": environment(),
            "scores": collector.scores,
            "comparisons": collector.comparisons,
            "seconds": read_json(args.expdir / "seconds.json"),
            "peak_rss_mb": max(read_json(args.expdir / "peak_rss_mb.json").values()),
            "seed": args.seed,
        }
        write_results(args.expdir, results, render, print_table=args.print_table)


if __name__ == "__main__":
    main()
