"""Compare two systems on one test set: paired bootstrap.

    python -m espnet_psslm.bin.compare --ref dump/raw/test/psslm.jsonl --task EN2DE \\
        --hyp_a exp/psslm_text/decode/test/EN2DE/1best_recog/text \\
        --hyp_b exp/psslm_sft/decode/test/EN2DE/1best_recog/text \\
        --output compare.json

Writes the difference B - A with its 95 % interval, the share of resamples on which B is better, and
a two-sided p-value.
"""

import argparse
from collections.abc import Sequence

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.common.json_files import write_json
from espnet_psslm.data.kaldi import read_table
from espnet_psslm.score.arguments import add_task_arguments, metric_and_language
from espnet_psslm.score.bootstrap import NUM_RESAMPLES
from espnet_psslm.score.files import read_references
from espnet_psslm.score.paired import compare


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser(__doc__)
    add_task_arguments(parser)
    parser.add_argument("--hyp_a", required=True, help="text file, `key hypothesis` a line")
    parser.add_argument("--hyp_b", required=True, help="the same, of the other system")
    parser.add_argument("--num_resamples", type=int, default=NUM_RESAMPLES)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Compare and write."""
    with command(get_parser(), cmd) as args:
        metric, language = metric_and_language(args)
        refs = read_references(args.ref, task=args.task, key_field=args.key_field)
        result = compare(
            refs,
            read_table(args.hyp_a),
            read_table(args.hyp_b),
            metric=metric,
            language=language,
            seed=args.seed,
            num_resamples=args.num_resamples,
        )
        write_json(args.output, result.as_dict())
    low, high = result.ci95
    print(
        f"{metric} A {100 * result.rate_a:.2f} B {100 * result.rate_b:.2f} "
        f"difference {100 * result.difference:+.2f} [{100 * low:.2f}, {100 * high:.2f}] "
        f"p = {result.p_value:.4f} of {result.num_utts} utterances: {args.output}"
    )


if __name__ == "__main__":
    main()
