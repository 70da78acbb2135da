"""A random tiny Whisper on disk, shared by the tests of this folder."""

from pathlib import Path

import pytest
import torch
from transformers import WhisperConfig, WhisperModel


@pytest.fixture(scope="session")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of width 32, 80 mel, 200 positions (4 seconds)."""
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=60,
        num_mel_bins=80,
        d_model=32,
        encoder_layers=3,
        encoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=48,
        max_source_positions=200,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    folder = tmp_path_factory.mktemp("whisper")
    WhisperModel(config).save_pretrained(folder)
    return folder
