"""Our log-mel against transformers' WhisperFeatureExtractor, which pads to 30 seconds."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from espnet_psslm.acoustic.log_mel import HOP, MAX_FRAMES, MAX_SAMPLES, LogMel

TOLERANCE = 1e-4  # absolute, float32


def make_signal(kind: str, num_samples: int) -> np.ndarray:
    rng = np.random.default_rng(num_samples)
    time = np.arange(num_samples) / 16000
    if kind == "noise":
        signal = 0.1 * rng.standard_normal(num_samples)
    elif kind == "tone":
        signal = 0.9 * np.sin(2 * np.pi * 440 * time)
    elif kind == "click_at_end":
        # Seen only by the frames behind the last whole hop; it sets the clamping level.
        signal = 1e-4 * rng.standard_normal(num_samples)
        signal[-1] = 1.0
    else:
        signal = np.zeros(num_samples)
    return signal.astype(np.float32)


def reference(signals: list[np.ndarray], num_mels: int) -> torch.Tensor:
    extractor = WhisperFeatureExtractor(feature_size=num_mels)
    out = extractor(signals, sampling_rate=16000, return_tensors="pt")["input_features"]
    return out.transpose(1, 2)


def batch(signals: list[np.ndarray], *, filler: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(signal) for signal in signals])
    padded = torch.full((len(signals), int(lengths.max())), filler)
    for row, signal in zip(padded, signals, strict=True):
        row[: len(signal)] = torch.from_numpy(signal)
    return padded, lengths


@pytest.mark.parametrize("num_mels", [80, 128])
@pytest.mark.parametrize("kind", ["noise", "tone", "click_at_end", "silence"])
@pytest.mark.parametrize("num_samples", [161, 1600, 16000, 16079, 16159, 40123])
def test_single_utterance(num_mels: int, kind: str, num_samples: int) -> None:
    signal = make_signal(kind, num_samples)
    features, lengths = LogMel(num_mels=num_mels)(*batch([signal]))
    assert lengths.tolist() == [num_samples // HOP]
    assert features.shape == (1, num_samples // HOP, num_mels)
    expected = reference([signal], num_mels)[:, : num_samples // HOP]
    torch.testing.assert_close(features, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "num_samples", [MAX_SAMPLES, MAX_SAMPLES - 1, MAX_SAMPLES - 100, MAX_SAMPLES - 300]
)
def test_thirty_seconds(num_samples: int) -> None:
    """Whisper mirrors the signal at 30 s: the last windows reach over the edge."""
    signal = make_signal("noise", num_samples)
    features, lengths = LogMel()(*batch([signal]))
    expected = reference([signal], 80)[:, : int(lengths[0])]
    torch.testing.assert_close(features, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("num_mels", [80, 128])
def test_batch_of_different_lengths(num_mels: int) -> None:
    """Any batch gives the single utterances' features; values behind the end do not matter."""
    sizes = [MAX_SAMPLES, 40123, 16159, 1600, 100]
    kinds = ["noise", "click_at_end", "tone", "noise", "noise"]
    signals = [make_signal(kind, size) for kind, size in zip(kinds, sizes, strict=True)]
    features, lengths = LogMel(num_mels=num_mels)(*batch(signals, filler=float("nan")))
    expected = reference(signals, num_mels)
    assert lengths.tolist() == [size // HOP for size in sizes]
    for row, length, wanted in zip(features, lengths.tolist(), expected, strict=True):
        torch.testing.assert_close(row[:length], wanted[:length], atol=TOLERANCE, rtol=0)
        assert not row[length:].any()


def test_pad_to_30s_is_the_whole_reference() -> None:
    signals = [make_signal("noise", 16079), make_signal("tone", 40123)]
    features, lengths = LogMel(pad_to_30s=True)(*batch(signals))
    assert features.shape[1] == MAX_FRAMES
    assert lengths.tolist() == [100, 250]
    torch.testing.assert_close(features, reference(signals, 80), atol=TOLERANCE, rtol=0)
