"""Compare two systems on one test set: paired bootstrap.

    python -m espnet_psslm.bin.compare --ref dump/raw/test/psslm.jsonl --task EN2DE \\
        --hyp_a exp/psslm_text/decode/test/EN2DE/1best_recog/text \\
        --hyp_b exp/psslm_sft/decode/test/EN2DE/1best_recog/text \\
        --metric bleu --language de --output compare.json

Writes the difference B - A with its 95 % interval, the share of resamples on which B is better, and
a two-sided p-value.
"""

import argparse
from collections.abc import Sequence

from espnet_psslm.bin.command import command
from espnet_psslm.data.kaldi import read_table
from espnet_psslm.score.bootstrap import NUM_RESAMPLES
from espnet_psslm.score.files import read_references, write_json
from espnet_psslm.score.paired import METRICS, compare


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ref", required=True, help="manifest (.jsonl) or text file")
    parser.add_argument("--hyp_a", required=True, help="text file, `key hypothesis` a line")
    parser.add_argument("--hyp_b", required=True, help="the same, of the other system")
    parser.add_argument("--metric", required=True, choices=METRICS)
    parser.add_argument("--output", required=True, help="JSON file to write")
    parser.add_argument("--task", help="task of the manifest to compare on")
    parser.add_argument(
        "--key_field", default="key", choices=("key", "utt"), help="what the texts are keyed by"
    )
    parser.add_argument("--language", default="en", help="of the texts")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--num_resamples", type=int, default=NUM_RESAMPLES)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Compare and write.

    Args:
        cmd: arguments; None reads the command line.
    """
    with command(get_parser(), cmd) as args:
        refs = read_references(args.ref, task=args.task, key_field=args.key_field)
        result = compare(
            refs,
            read_table(args.hyp_a),
            read_table(args.hyp_b),
            metric=args.metric,
            language=args.language,
            seed=args.seed,
            num_resamples=args.num_resamples,
        )
        write_json(args.output, result.as_dict())
    low, high = result.ci95
    print(
        f"{args.metric} A {100 * result.rate_a:.2f} B {100 * result.rate_b:.2f} "
        f"difference {100 * result.difference:+.2f} [{100 * low:.2f}, {100 * high:.2f}] "
        f"p = {result.p_value:.4f} of {result.num_utts} utterances: {args.output}"
    )


if __name__ == "__main__":
    main()
