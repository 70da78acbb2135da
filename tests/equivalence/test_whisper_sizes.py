"""The encoder of every published size against transformers' WhisperModel, stage by stage, float64.

Random weights of the size's widths, two layers (``long``: all of them), saved as the hub has them:
the whole sequence-to-sequence model, distilled ones in half precision with a two-layer decoder.
"""

from pathlib import Path

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperModel

from espnet_psslm.acoustic.whisper import HFSpeechEncoder

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


def save(folder: Path, size: str, num_layers: int | None) -> Path:
    width, heads, layers, num_mels, num_tokens = SIZES[size]
    distilled = size.startswith("distil")
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=width, encoder_attention_heads=heads, encoder_ffn_dim=4 * width,
        encoder_layers=num_layers or layers, num_mel_bins=num_mels, vocab_size=num_tokens % 100,
        # The decoder is not ours: as small as its width allows.
        decoder_layers=2 if distilled else 1, decoder_attention_heads=heads, decoder_ffn_dim=16,
        max_source_positions=NUM_FRAMES // 2, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.model.encoder.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)  # fresh ones are zero
    (model.half() if distilled else model).save_pretrained(folder)
    return folder


def check(folder: Path, num_mels: int) -> None:
    theirs = WhisperModel.from_pretrained(folder, dtype=torch.float32).encoder.double().eval()
    ours = HFSpeechEncoder(num_mels, str(folder)).double().eval()
    features = torch.randn(1, NUM_FRAMES, num_mels, dtype=torch.float64)
    stages: dict[str, list[torch.Tensor]] = {"ours": [], "theirs": []}
    for owner, encoder in (("ours", ours.whisper), ("theirs", theirs)):
        for module in [*encoder.layers, encoder.layer_norm]:
            module.register_forward_hook(
                lambda _m, args, out, owner=owner: stages[owner].extend([args[0], out])
            )
    with torch.no_grad():
        expected = theirs(features.transpose(1, 2)).last_hidden_state
        out, lengths, _ = ours(features, torch.tensor([NUM_FRAMES]))
    assert lengths.tolist() == [NUM_FRAMES // 2]
    assert len(stages["ours"]) == 2 * (len(ours.whisper.layers) + 1)
    for mine, other in zip(stages["ours"], stages["theirs"], strict=True):
        torch.testing.assert_close(mine, other, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(out, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_two_layers(size: str, tmp_path: Path) -> None:
    check(save(tmp_path, size, 2), SIZES[size][3])


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES)
def test_full_depth(size: str, tmp_path: Path) -> None:
    check(save(tmp_path, size, None), SIZES[size][3])


def test_mel_channels_of_large_v3_are_asked_for(tmp_path: Path) -> None:
    folder = save(tmp_path, "large-v3", 1)
    with pytest.raises(ValueError, match="takes 128 mel channels, the frontend gives 80"):
        HFSpeechEncoder(80, str(folder))
