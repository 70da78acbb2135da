"""Pack a trained bridge into one archive that ESPnet's model zoo unpacks.

    python -m espnet_psslm.bin.pack --psslm_train_config exp/psslm_sft/config.yaml \\
        --psslm_model_file exp/psslm_sft/valid.acc.ave.pth --outpath exp/psslm.zip

Packed: configurations, trained parameters, the files that these name, and a README card; of
``--replay`` a sample of the training text, from which ``adapt`` keeps old tasks from being
forgotten. Base models (``package://...``, hub names, local folders) keep their names.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.data.manifest import Row, read_manifest
from espnet_psslm.recipe.replay import sample_replay


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--psslm_train_config", required=True, help="config.yaml of the bridge")
    parser.add_argument("--psslm_model_file", required=True, help="its trained parameters")
    parser.add_argument("--outpath", required=True, help="archive to write, .zip")
    parser.add_argument("--title", default="Speech language model", help="heading of the card")
    parser.add_argument("--notes", help="Markdown for the card: licences, data")
    parser.add_argument(
        "--outside", help="file of calibrate: the model says what is outside of what it knows"
    )
    parser.add_argument(
        "--replay",
        help="manifest of the training: the archive carries a sample of its texts and answers, at "
        "most 1 MB, for adapt; whoever has the archive can read them",
    )
    parser.add_argument(
        "--replay_held_out",
        help="manifest of which nothing was trained on, e.g. of development: adapt shows by these "
        "texts what is forgotten; a tenth of the sample at most (needs --replay)",
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        help="further file, e.g. results; .md goes on the card",
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Gather what the options name, and pack it.

    Raises:
        ValueError: naming what is missing.
    """
    from espnet_psslm.recipe.packing import Bridge, pack_bridge

    bridge = Bridge(
        Path(args.psslm_train_config),
        Path(args.psslm_model_file),
        title=args.title,
        notes=Path(args.notes).read_text(encoding="utf-8") if args.notes else "",
        outside=None if args.outside is None else Path(args.outside),
        replay=_replay(args.replay, args.replay_held_out),
        option=[Path(name) for name in args.option],
    )
    pack_bridge(bridge, Path(args.outpath))


def _replay(trained: str | None, held_out: str | None) -> Sequence[Row]:
    if trained is None:
        if held_out is not None:
            raise ValueError("--replay_held_out needs --replay, the manifest of the training")
        return ()
    rows = list(read_manifest(trained).values())
    if held_out is not None:
        rows += [row | {"held_out": True} for row in read_manifest(held_out).values()]
    return sample_replay(rows)


def main(cmd: Sequence[str] | None = None) -> None:
    """Pack."""
    with command(get_parser(), cmd) as args:
        run(args)


if __name__ == "__main__":
    main()
