"""Train the bridge; ESPnet's command line.

    python -m espnet_psslm.bin.psslm_train --config conf/train_psslm.yaml \\
        --train_data_path_and_name_and_type train.jsonl,sample,psslm_jsonl \\
        --valid_data_path_and_name_and_type dev.jsonl,sample,psslm_jsonl --output_dir exp/psslm
"""

import argparse
from collections.abc import Sequence

from espnet_psslm.bin.command import options
from espnet_psslm.tasks.psslm import PSSLMTask


def get_parser() -> argparse.ArgumentParser:
    """ESPnet's parser with the options of the bridge."""
    return PSSLMTask.get_parser()


def main(cmd: Sequence[str] | None = None) -> None:
    """Train."""
    with options(get_parser(), cmd) as args:
        PSSLMTask.main(args)


if __name__ == "__main__":
    main()
