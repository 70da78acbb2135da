"""Link the models of a pack, and its prompts, to where the stages of a recipe look for them.

    python -m espnet_psslm.bin.unpack --model user/model --psslm_exp exp/user/psslm_text \
        --psslm_name valid.acc.ave.pth --ctc_exp exp/user/ctc --ctc_name valid.loss.ave.pth
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from espnet_psslm.atomic import atomic_link
from espnet_psslm.bin.command import MAX_UNPACKED_HELP, command, new_parser


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = new_parser(__doc__)
    parser.add_argument("--model", required=True, help="archive, unpacked folder, or hub name")
    parser.add_argument("--max_unpacked_gb", type=float, help=MAX_UNPACKED_HELP)
    parser.add_argument("--psslm_exp", type=Path, required=True, help="folder for the bridge")
    parser.add_argument("--psslm_name", required=True, help="name of its checkpoint")
    parser.add_argument("--ctc_exp", type=Path, required=True, help="folder for the CTC model")
    parser.add_argument("--ctc_name", required=True, help="name of its checkpoint")
    return parser


def link(source: str, target: Path) -> None:
    """Make a symbolic link, in place of an older one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_link(target, Path(source).absolute())


def main(cmd: Sequence[str] | None = None) -> None:
    """Link."""
    with command(get_parser(), cmd) as args:
        from espnet_psslm.pack_files import open_pack, read_relocated

        files = open_pack(args.model, max_unpacked_gb=args.max_unpacked_gb)
        link(files["psslm_train_config"], args.psslm_exp / "config.yaml")
        link(files["psslm_model_file"], args.psslm_exp / args.psslm_name)
        prompt_file = read_relocated(files["psslm_train_config"])["prompt_file"]
        link(prompt_file, args.psslm_exp / "prompts.jsonl")
        if "asr_train_config" in files:
            link(files["asr_train_config"], args.ctc_exp / "config.yaml")
            link(files["asr_model_file"], args.ctc_exp / args.ctc_name)
    logging.info("linked %s to %s", args.model, args.psslm_exp)


if __name__ == "__main__":
    main()
