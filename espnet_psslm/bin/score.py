"""Score hypotheses: error rates, accuracy, BLEU, chrF, SLURP's metrics; 95 % bootstrap intervals.

    python -m espnet_psslm.bin.score --ref dump/raw/test/psslm.jsonl --task ASR \\
        --hyp exp/psslm_text/decode/test/ASR/1best_recog/text --output score.json

How a task is scored its line in the prompt file says (``--prompt_file``), or a table of the tasks
that come with this package; any other by accuracy, if its line lists labels, else by exact match,
which is said. ``--metric`` overrides all of it.

References are a manifest (``target`` by ``key``) or a Kaldi-style text file. Hypotheses outside the
references are an error, unless ``--where`` picked a subset or ``--unknown left_out`` says so. A
reference without a hypothesis counts as an empty one, and is counted.

Error rates can be compared only under one normalisation: ``--normalizer whisper`` is that of the
Open ASR leaderboard, and the score says which it was.

``--metric slu`` reads answers of task SLU_entities, and counts those that are none. Predictions in
SLURP's own format (``--hyp x.jsonl``) are scored against SLURP's release (``--ref test.jsonl``).
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.common.json_files import write_json
from espnet_psslm.data.kaldi import read_table
from espnet_psslm.score.arguments import add_task_arguments, metric_and_language
from espnet_psslm.score.base import Score
from espnet_psslm.score.files import read_references
from espnet_psslm.score.metrics import METRICS
from espnet_psslm.score.normalizers import NORMALIZERS
from espnet_psslm.score.slu import SLUScore, slu_score
from espnet_psslm.score.slu_files import read_slurp
from espnet_psslm.score.translation import Translation


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser(__doc__)
    add_task_arguments(parser)
    parser.add_argument("--hyp", required=True, help="text file, `key hypothesis` a line")
    parser.add_argument(
        "--where",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="score only rows of the manifest with these values, e.g. seen_template=false",
    )
    parser.add_argument(
        "--missing",
        choices=("wrong", "left_out"),
        default="wrong",
        help="what becomes of references without a hypothesis; either is said",
    )
    parser.add_argument(
        "--unknown",
        choices=("error", "left_out"),
        default="error",
        help="what becomes of hypotheses without a reference; SLURP's own scorer leaves them out",
    )
    parser.add_argument(
        "--normalizer",
        choices=tuple(NORMALIZERS),
        help="of WER and CER: psslm, the training text's (default), or whisper",
    )
    return parser


def parse_where(pairs: Sequence[str]) -> dict[str, str]:
    """Split ``FIELD=VALUE`` pairs.

    Args:
        pairs: as on the command line.

    Returns:
        field -> value.

    Raises:
        ValueError: for a pair without ``=``.
    """
    for pair in pairs:
        if "=" not in pair:
            raise ValueError(f"--where {pair!r} is not FIELD=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def score(args: argparse.Namespace) -> Score:
    """Read both sides and score them.

    Returns:
        The score.

    Raises:
        ValueError: if a file or an option cannot be used.
    """
    where = parse_where(args.where)
    if args.metric == "slu" and Path(args.hyp).suffix == ".jsonl":
        if where or args.task:
            raise ValueError("--task and --where pick rows of a manifest, not of SLURP's release")
        answers, predictions = read_slurp(args.ref, args.hyp)
        predictions = _known(args, predictions, answers)
        return slu_score(_keep(args, answers, predictions), predictions, seed=args.seed)
    metric, language = metric_and_language(args)
    options = {"language": language, "seed": args.seed}
    if args.normalizer is not None:
        if not METRICS[metric].lower_is_better:
            raise ValueError(f"--normalizer is of error rates: {metric} has none to choose")
        options["normalizer"] = args.normalizer
    refs = read_references(args.ref, task=args.task, key_field=args.key_field, where=where)
    hyps = read_table(args.hyp)
    if where:
        hyps = {key: text for key, text in hyps.items() if key in refs}
    hyps = _known(args, hyps, refs)
    return METRICS[metric].score(_keep(args, refs, hyps), hyps, **options)


def _known[Answer](
    args: argparse.Namespace, hyps: Mapping[str, Answer], refs: Mapping[str, object]
) -> dict[str, Answer]:
    """Hypotheses to score, as ``--unknown`` says."""
    unknown = hyps.keys() - refs.keys() if args.unknown == "left_out" else set()
    if unknown:
        logging.warning(
            "%s: %d hypotheses without a reference are left out, e.g. %r",
            args.hyp, len(unknown), min(unknown),
        )  # fmt: skip
    return {key: hyp for key, hyp in hyps.items() if key not in unknown}


def _keep[Reference](
    args: argparse.Namespace, refs: Mapping[str, Reference], hyps: Mapping[str, object]
) -> dict[str, Reference]:
    """References to score, as ``--missing`` says."""
    if missing := refs.keys() - hyps.keys():
        become = "are left out" if args.missing == "left_out" else "count as wrong"
        logging.warning("%s: %d references without a hypothesis %s", args.hyp, len(missing), become)
    drop = missing if args.missing == "left_out" else set()
    return {key: ref for key, ref in refs.items() if key not in drop}


def main(cmd: Sequence[str] | None = None) -> None:
    """Score and write."""
    with command(get_parser(), cmd) as args:
        result = score(args)
        if isinstance(result, SLUScore) and result.num_unparsable:
            logging.warning("%s: %d answers cannot be parsed", args.hyp, result.num_unparsable)
        write_json(args.output, result.as_dict())
    low, high = result.ci95
    if isinstance(result, Translation):
        logging.info("%s", result.signature)
    print(
        f"{result.metric} {100 * result.rate:.2f} % [{100 * low:.2f}, {100 * high:.2f}] "
        f"of {result.num_utts} utterances: {args.output}"
    )


if __name__ == "__main__":
    main()
