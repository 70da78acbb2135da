"""Train a CTC acoustic model: ESPnet's ASR training, with our frontend, encoder and audio type.

Usage::

    python -m espnet_psslm.bin.asr_train --config conf/train_ctc.yaml \\
        --token_type bpe --token_list data/units/tokens.txt --bpemodel data/units/bpe.model \\
        --train_data_path_and_name_and_type dump/raw/train/wav.scp,speech,psslm_audio \\
        --train_data_path_and_name_and_type dump/raw/train/text,text,text \\
        --train_shape_file dump/raw/train/speech_shape \\
        --valid_data_path_and_name_and_type dump/raw/dev/wav.scp,speech,psslm_audio \\
        --valid_data_path_and_name_and_type dump/raw/dev/text,text,text \\
        --valid_shape_file dump/raw/dev/speech_shape \\
        --resume true --output_dir exp/ctc

Every option of ESPnet's ``asr_train`` holds.
"""

import argparse
from collections.abc import Sequence

from espnet_psslm.bin.command import options
from espnet_psslm.registry import register
from espnet_psslm.tasks.whisper_ctc import WhisperCTCTask

# At module level: data workers that are spawned import this module again.
register()


def get_parser() -> argparse.ArgumentParser:
    """ESPnet's parser, with our choices."""
    return WhisperCTCTask.get_parser()


def main(cmd: Sequence[str] | None = None) -> None:
    """Train."""
    with options(get_parser(), cmd) as args:
        WhisperCTCTask.main(args)


if __name__ == "__main__":
    main()
