"""What a training left: its configuration, and the model with its trained parameters."""

import argparse
from pathlib import Path
from typing import Any

import torch

from espnet_psslm.checkpoint import Misfit
from espnet_psslm.common.files import check_file
from espnet_psslm.common.tensors import check_finite, load_state
from espnet_psslm.pack_files import read_relocated
from espnet_psslm.training.builders import build_model
from espnet_psslm.training.espnet_model import PSSLMModel


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a training's ``config.yaml``.

    Raises:
        ValueError: if there is no such file, or it is no configuration of this task.
    """
    check_file(path, option="--psslm_train_config", fix="stage 11 trains the model")
    config = read_relocated(path)
    needed = ("token_list", "bpemodel", "prompt_file", "llm_conf", "acoustic_conf", "projector")
    lacking = [name for name in needed if name not in config]
    if lacking:
        raise ValueError(
            f"--psslm_train_config {path}: lacks {lacking}; give the config.yaml of psslm_train"
        )
    return config


def load_model(
    args: argparse.Namespace, model_file: str | Path, device: torch.device
) -> PSSLMModel:
    """Build a model from its configuration and load what was trained.

    Args:
        args: the configuration.
        model_file: state dict of the trained parameters.
        device: where to put it.

    Returns:
        The model, in eval mode.

    Raises:
        ValueError: if the file is missing, is no checkpoint of such a model, or its weights
            are NaN.
    """
    check_file(model_file, option="--psslm_model_file", fix="stage 11 makes it")
    state = load_state(model_file, option="--psslm_model_file")
    check_finite(state, model_file, option="--psslm_model_file")
    model = build_model(args)
    try:
        model.load_state_dict(state)
    except Misfit as error:
        raise ValueError(f"--psslm_model_file {model_file} {error}") from error
    return model.to(device).eval()
