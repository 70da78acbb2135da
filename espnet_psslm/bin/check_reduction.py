"""Refuse options of the reduction that a trained bridge does not have.

    python -m espnet_psslm.bin.check_reduction --psslm_train_config exp/psslm_text/config.yaml \\
        --reduction_conf blank_threshold=0.9

Decoding makes Steps as training did, whatever the options of a recipe are by then: stage 12 asks.
"""

import argparse
from collections.abc import Sequence

from espnet_psslm.bin.command import add_steps_options, command, new_parser, steps_options


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = new_parser("Refuse options of the reduction that a trained bridge does not have.")
    parser.add_argument("--psslm_train_config", required=True, help="config.yaml of the training")
    add_steps_options(parser)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Compare."""
    with command(get_parser(), cmd) as args:
        from espnet_psslm.common.yaml_file import read_mapping
        from espnet_psslm.steps.made import check_made
        from espnet_psslm.training.builders import reduction_of, with_defaults

        config = read_mapping(args.psslm_train_config)
        trained, asked = (
            reduction_of(with_defaults(config, words)).described()
            for words in ((), steps_options(args))
        )
        check_made(trained, asked, place=f"the bridge of {args.psslm_train_config}")


if __name__ == "__main__":
    main()
