"""Score hypotheses: error rates, accuracy, BLEU, chrF, SLURP's metrics; 95 % bootstrap intervals.

    python -m espnet_psslm.bin.score --ref dump/raw/test/psslm.jsonl --task ASR \\
        --hyp exp/psslm_text/decode/test/ASR/1best_recog/text --metric wer --output score.json

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

from espnet_psslm.bin.command import command
from espnet_psslm.data.kaldi import read_table
from espnet_psslm.score.classification import Accuracy, accuracy
from espnet_psslm.score.error_rate import ErrorRate, error_rate
from espnet_psslm.score.files import read_references, write_json
from espnet_psslm.score.normalizers import NORMALIZERS
from espnet_psslm.score.slu import SLUScore, parse_answers, slu_score
from espnet_psslm.score.slu_files import read_slurp
from espnet_psslm.score.translation import Translation, translation_score
from espnet_psslm.text.slu_answer import parse_answer

METRICS = ("wer", "cer", "accuracy", "bleu", "chrf", "slu")


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ref", required=True, help="manifest (.jsonl) or text file")
    parser.add_argument("--hyp", required=True, help="text file, `key hypothesis` a line")
    parser.add_argument("--metric", required=True, choices=METRICS)
    parser.add_argument("--output", required=True, help="JSON file to write")
    parser.add_argument("--task", help="task of the manifest to score")
    parser.add_argument(
        "--key_field", default="key", choices=("key", "utt"), help="what --hyp is keyed by"
    )
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
        "--language", default="en", help="of the texts: their normalisation, the tokeniser of BLEU"
    )
    parser.add_argument(
        "--normalizer",
        default="psslm",
        choices=tuple(NORMALIZERS),
        help="of WER and CER: the training text's, or Whisper's as in the Open ASR leaderboard",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
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


def score(args: argparse.Namespace) -> ErrorRate | Accuracy | Translation | SLUScore:
    """Read both sides and score them.

    Args:
        args: of the command line.

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
    refs = read_references(args.ref, task=args.task, key_field=args.key_field, where=where)
    hyps = read_table(args.hyp)
    if where:
        hyps = {key: text for key, text in hyps.items() if key in refs}
    hyps = _known(args, hyps, refs)
    refs = _keep(args, refs, hyps)
    if args.metric == "slu":
        right = {key: parse_answer(line) for key, line in refs.items()}
        return slu_score(right, parse_answers(hyps), seed=args.seed)
    if args.metric == "accuracy":
        return accuracy(refs, hyps, seed=args.seed)
    if args.metric in ("bleu", "chrf"):
        return translation_score(
            refs, hyps, metric=args.metric, language=args.language, seed=args.seed
        )
    unit = "word" if args.metric == "wer" else "char"
    return error_rate(
        refs,
        hyps,
        unit=unit,
        seed=args.seed,
        language=args.language,
        normalizer=args.normalizer,
    )


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
    """Score and write.

    Args:
        cmd: arguments; None reads the command line.
    """
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
