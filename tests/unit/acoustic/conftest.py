"""A random tiny Whisper on disk, shared by the tests of this folder."""

from pathlib import Path

import pytest
import torch
from transformers import WhisperModel

from tests.helpers import tiny_whisper_config


@pytest.fixture(scope="session")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of width 32, 80 mel, 200 positions (4 seconds)."""
    torch.manual_seed(0)
    config = tiny_whisper_config(200)
    folder = tmp_path_factory.mktemp("whisper")
    WhisperModel(config).save_pretrained(folder)
    return folder
