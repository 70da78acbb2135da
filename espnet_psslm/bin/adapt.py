"""Teach a packed model a new domain from a text; no audio is needed.

    espnet-psslm adapt --model psslm.zip --text domain.jsonl --output new.zip

The text is one sentence a line, or JSON Lines: {"text": "two flat whites please", "task":
"SLU_action", "target": "order"}. The simulation makes of it what the acoustic model would hear, and
the bridge is trained on. A tenth of the sentences is held out; the table at the end says how they,
and what the model knew before, are answered before and after. A run that was stopped goes on when
it is started again. The old model is never touched.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_psslm.bin.command import DEVICE_HELP, command, new_parser
from espnet_psslm.common.switch import add_switch


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--model", required=True, help="archive of stage 14, folder or hub name")
    parser.add_argument("--text", required=True, help="text file, or JSON Lines (.jsonl)")
    parser.add_argument("--output", required=True, help="archive to write, .zip")
    parser.add_argument(
        "--prompts", help='tasks that the model lacks: {"task": ..., "prompt": ...} a line'
    )
    parser.add_argument(
        "--audio", help="recordings and their texts (JSON Lines) to compare the models on"
    )
    parser.add_argument(
        "--measure",
        help="recordings and their texts (JSON Lines) whose errors the simulation makes, in place "
        "of those that the pack was measured with",
    )
    parser.add_argument(
        "--tuning",
        choices=("lora", "prefix"),
        help="train this too, in a model whose language model was frozen (default: as it was)",
    )
    add_switch(
        parser,
        "--replay",
        default="true",
        help="train what the model knows again beside the new text (default: true)",
    )
    parser.add_argument(
        "--minutes", type=float, default=6.0, help="for training (default: 6); few rows take less"
    )
    parser.add_argument("--language", default="en", help="of the speech (default: en)")
    parser.add_argument("--seed", type=int, default=0, help="of training (default: 0)")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Adapt, and print the table."""
    with command(get_parser(), cmd) as args:
        # Not at the top: it takes seconds, and --help needs none of it.
        from espnet_psslm.recipe.adaptation.adapt import Options, adapt
        from espnet_psslm.recipe.adaptation.compare import render

        options = Options(
            text=Path(args.text),
            output=Path(args.output),
            prompts=None if args.prompts is None else Path(args.prompts),
            audio=None if args.audio is None else Path(args.audio),
            measure=None if args.measure is None else Path(args.measure),
            tuning=args.tuning,
            replay=args.replay,
            minutes=args.minutes,
            device=args.device,
            language=args.language,
            seed=args.seed,
        )
        print(render(adapt(args.model, options)))
        print(f"{args.output}: espnet-psslm transcribe my.wav --model {args.output}")


if __name__ == "__main__":
    main()
