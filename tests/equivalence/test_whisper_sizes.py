"""The encoder of every published size against transformers' WhisperModel, stage by stage, float64.

Random weights of the size's widths, two layers (``long``: all of them), saved as the hub has them:
the whole sequence-to-sequence model, distilled ones in half precision with a two-layer decoder. A
module is in float64 only while it runs: both of the largest encoders would take 10 GB.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from espnet_psslm.acoustic.whisper import HFSpeechEncoder
from tests.helpers import record_stages

TOLERANCE = 1e-9  # absolute, float64; values are of order 1
NUM_FRAMES = 40
# Width, heads, layers, mel channels, tokens.
SIZES = {
    "tiny.en": (384, 6, 4, 80, 51864),
    "tiny": (384, 6, 4, 80, 51865),
    "base": (512, 8, 6, 80, 51865),
    "small": (768, 12, 12, 80, 51865),
    "medium": (1024, 16, 24, 80, 51865),
    "large-v2": (1280, 20, 32, 80, 51865),
    "large-v3": (1280, 20, 32, 128, 51866),
    "distil-large-v3": (1280, 20, 32, 128, 51866),
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """For the weights; pytest would keep those of three runs."""
    yield tmp_path / "model"
    shutil.rmtree(tmp_path / "model")


def save(folder: Path, size: str, num_layers: int | None, dtype: torch.dtype) -> Path:
    width, heads, layers, num_mels, num_tokens = SIZES[size]
    config = WhisperConfig(
        d_model=width, encoder_attention_heads=heads, encoder_ffn_dim=4 * width,
        encoder_layers=num_layers or layers, num_mel_bins=num_mels, vocab_size=num_tokens % 100,
        # The decoder is not ours: as small as its width allows.
        decoder_layers=2 if size.startswith("distil") else 1, decoder_attention_heads=heads,
        decoder_ffn_dim=16, max_source_positions=NUM_FRAMES // 2, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration._from_config(config, dtype=dtype)
    with torch.no_grad():
        for name, parameter in model.model.encoder.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)  # fresh ones are zero
    model.save_pretrained(folder)
    return folder


def run_in_float64(encoder: WhisperEncoder, dtype: torch.dtype) -> WhisperEncoder:
    """Keep weights in ``dtype``, and compute in float64: there and back is exact."""

    def widen(module: torch.nn.Module, _args: tuple) -> None:
        module.double()

    def narrow(module: torch.nn.Module, _args: tuple, _out: torch.Tensor) -> None:
        module.to(dtype)

    encoder.to(dtype).eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Embedding):
            module.double()  # its table is read, not run
        elif list(module.parameters(recurse=False)):
            module.register_forward_pre_hook(widen)
            module.register_forward_hook(narrow)
    return encoder


def check(folder: Path, num_mels: int, dtype: torch.dtype) -> None:
    ours = HFSpeechEncoder(num_mels, str(folder)).eval()
    run_in_float64(ours.whisper, dtype)
    theirs = run_in_float64(WhisperModel.from_pretrained(folder, dtype=dtype).encoder, dtype)
    features = torch.randn(1, NUM_FRAMES, num_mels, dtype=torch.float64)
    stages = record_stages(ours.whisper), record_stages(theirs)
    with torch.no_grad():
        expected = theirs(features.transpose(1, 2)).last_hidden_state
        out, lengths, _ = ours(features, torch.tensor([NUM_FRAMES]))
    assert out.dtype == expected.dtype == torch.float64
    assert lengths.tolist() == [NUM_FRAMES // 2]
    assert len(stages[0]) == 2 * (len(ours.whisper.layers) + 1)
    for mine, other in zip(*stages, strict=True):
        torch.testing.assert_close(mine, other, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(out, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_two_layers(size: str, folder: Path) -> None:
    dtype = torch.float16 if size.startswith("distil") else torch.float32
    check(save(folder, size, 2, dtype), SIZES[size][3], dtype)


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES)
def test_full_depth(size: str, folder: Path) -> None:
    check(save(folder, size, None, torch.float16), SIZES[size][3], torch.float16)


def test_mel_channels_of_large_v3_are_asked_for(folder: Path) -> None:
    save(folder, "large-v3", 1, torch.float16)
    with pytest.raises(ValueError, match="takes 128 mel channels, the frontend gives 80"):
        HFSpeechEncoder(80, str(folder))
