"""A SenseVoiceSmall as the hub gives it out, but with a shallow encoder of random weights."""

import shutil
from pathlib import Path

import torch
import yaml

from espnet_psslm.acoustic.sensevoice import BPE_MODEL

SIZES = {"num_blocks": 2, "tp_blocks": 1, "output_size": 32, "linear_units": 48}


def save_sensevoice(shared_data: Path, folder: Path) -> Path:
    """Write it.

    Args:
        shared_data: has its true configuration, CMVN and SentencePiece model.
        folder: exists.

    Returns:
        The folder.
    """
    from funasr.models.sense_voice.model import SenseVoiceSmall

    for name in ("config.yaml", "am.mvn", BPE_MODEL):
        shutil.copyfile(shared_data / "sensevoice_frontend" / name, folder / name)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["encoder_conf"] |= SIZES
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    model = SenseVoiceSmall(
        encoder=config["encoder"],
        encoder_conf=config["encoder_conf"],
        input_size=560,
        vocab_size=25055,
        **config["model_conf"],
    )
    torch.save(model.state_dict(), folder / "model.pt")
    return folder
