"""Our encoder against transformers' WhisperModel, stage by stage, random tiny weights, float64."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import WhisperModel

from espnet_psslm.acoustic.whisper import HFSpeechEncoder, output_lengths
from tests.helpers import record_stages, tiny_whisper_config

TOLERANCE = 1e-10  # absolute, float64
NUM_MELS = 80


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = WhisperModel(tiny_whisper_config(1500))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(folder)
    return folder


def reference_encoder(folder: Path, num_positions: int) -> torch.nn.Module:
    """transformers' encoder whose position table is cut to ``num_positions``."""
    whole = WhisperModel.from_pretrained(folder, dtype=torch.float32).encoder
    table = whole.embed_positions.weight.detach()[:num_positions]
    cut = WhisperModel(tiny_whisper_config(num_positions)).encoder
    state = {**whole.state_dict(), "embed_positions.weight": table}
    cut.load_state_dict(state)
    return cut.double().eval()


def our_encoder(folder: Path, **options: object) -> HFSpeechEncoder:
    encoder = HFSpeechEncoder(NUM_MELS, str(folder), **options)
    return encoder.double().eval()


@pytest.mark.parametrize("num_frames", [2, 98, 3000])
def test_stages_equal_transformers(whisper_folder: Path, num_frames: int) -> None:
    """Convolutions, positions, every layer, final norm; at the table's cut and at 30 s."""
    theirs = reference_encoder(whisper_folder, num_frames // 2)
    ours = our_encoder(whisper_folder)
    features = torch.randn(1, num_frames, NUM_MELS, dtype=torch.float64)
    lengths = torch.tensor([num_frames])
    stages = record_stages(ours.whisper), record_stages(theirs)
    with torch.no_grad():
        expected = theirs(features.transpose(1, 2)).last_hidden_state
        out, out_lengths, _ = ours(features, lengths)
    assert out_lengths.tolist() == [num_frames // 2]
    assert len(stages[0]) == 8
    for mine, other in zip(*stages, strict=True):
        torch.testing.assert_close(mine, other, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(out, expected, atol=TOLERANCE, rtol=0)


def test_pad_to_30s_equals_transformers(whisper_folder: Path) -> None:
    """With pad_to_30s nothing is masked: the first frames of the 30-second encoding."""
    theirs = reference_encoder(whisper_folder, 1500)
    ours = our_encoder(whisper_folder, pad_to_30s=True)
    features = torch.randn(2, 3000, NUM_MELS, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(features.transpose(1, 2)).last_hidden_state
        out, lengths, _ = ours(features, torch.tensor([250, 121]))
    assert lengths.tolist() == [125, 61]
    for row, wanted, length in zip(out, expected, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:length], wanted[:length], atol=TOLERANCE, rtol=0)
        assert not row[length:].any()


@pytest.mark.parametrize("stride", [0, 3])
def test_batch_equals_single(whisper_folder: Path, stride: int) -> None:
    """Alone, in a batch, and with other values behind the end: the same frames."""
    encoder = our_encoder(whisper_folder, conv_kernel=stride, conv_stride=stride)
    lengths = torch.tensor([120, 77, 10, 1])
    features = torch.randn(4, 120, NUM_MELS, dtype=torch.float64)
    behind = torch.arange(120) >= lengths[:, None]
    with torch.no_grad():
        out, out_lengths, _ = encoder(features, lengths)
        other, _, _ = encoder(features.masked_fill(behind[..., None], 7.0), lengths)
        wider, _, _ = encoder(F.pad(features, (0, 0, 0, 50)), lengths)
        assert out_lengths.tolist() == output_lengths(lengths, conv_stride=stride).tolist()
        for n, length in enumerate(lengths.tolist()):
            frames = int(out_lengths[n])
            alone, alone_lengths, _ = encoder(features[n : n + 1, :length], lengths[n : n + 1])
            assert alone.shape[1] == frames == int(alone_lengths)
            for batched in (out, other, wider):
                torch.testing.assert_close(
                    batched[n, :frames], alone[0], atol=TOLERANCE, rtol=0
                )


def test_gradient_of_padding_is_zero(whisper_folder: Path) -> None:
    encoder = our_encoder(whisper_folder, freeze="none", conv_kernel=3, conv_stride=3)
    lengths = torch.tensor([60, 31])
    features = torch.randn(2, 60, NUM_MELS, dtype=torch.float64, requires_grad=True)
    out, out_lengths, _ = encoder(features, lengths)
    valid = torch.arange(out.shape[1]) < out_lengths[:, None]
    (out * valid[..., None]).square().sum().backward()
    assert features.grad[1, :31].abs().sum() > 0
    assert not features.grad[1, 31:].any()
    assert torch.isfinite(features.grad).all()
