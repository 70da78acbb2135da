"""Edges of the log-mel frontend. Equality with Whisper: tests/equivalence."""

import pytest
import torch

from espnet_psslm.acoustic.log_mel import LogMel, WhisperLogMel


def test_shorter_than_a_frame() -> None:
    features, lengths = LogMel()(torch.ones(2, 90), torch.tensor([90, 1]))
    assert features.shape == (2, 1, 80) and lengths.tolist() == [0, 0]
    assert not features.any()


def test_longer_than_whisper() -> None:
    with pytest.raises(ValueError, match="30.1 s is longer than Whisper's window of 30 s"):
        LogMel()(torch.zeros(1, 481600), torch.tensor([481600]))


def test_padding_beyond_30s_is_ignored() -> None:
    """A batch may be padded further than its longest utterance."""
    speech = torch.randn(1, 1600)
    features, _ = LogMel()(speech, torch.tensor([1600]))
    padded = torch.nn.functional.pad(speech, (0, 500000))
    assert torch.equal(LogMel()(padded, torch.tensor([1600]))[0], features)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="num_mels 40"):
        LogMel(num_mels=40)
    with pytest.raises(ValueError, match="mono"):
        LogMel()(torch.zeros(1, 1600, 2), torch.tensor([1600]))


def test_frontend_has_no_weights_to_save() -> None:
    frontend = WhisperLogMel(num_mels=128)
    assert frontend.output_size() == 128
    assert not frontend.state_dict() and not list(frontend.parameters())
