"""Train the learned simulator on texts and the Steps that were dumped of them; ESPnet's options.

    python -m espnet_psslm.bin.simulator_train --config conf/train_simulator.yaml \\
        --token_list data/token_list/tokens.txt --bpemodel data/token_list/bpe.model \\
        --train_data_path_and_name_and_type dump/steps/train/psslm.jsonl,sample,psslm_jsonl \\
        --valid_data_path_and_name_and_type dump/steps/dev/psslm.jsonl,sample,psslm_jsonl \\
        --output_dir exp/simulator
"""

import argparse
from collections.abc import Sequence

from espnet_psslm.bin.command import options
from espnet_psslm.training.simulator import SimulatorTask


def get_parser() -> argparse.ArgumentParser:
    """ESPnet's parser with the options of the simulator."""
    return SimulatorTask.get_parser()


def main(cmd: Sequence[str] | None = None) -> None:
    """Train."""
    with options(get_parser(), cmd) as args:
        SimulatorTask.main(args)


if __name__ == "__main__":
    main()
