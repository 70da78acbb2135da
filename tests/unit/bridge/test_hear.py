import torch

from espnet_psslm.bridge.hear import hear_features
from espnet_psslm.bridge.phone_sync import FrameSynchronous, MergeThenDrop


class Acoustic:
    """Encoder outputs are log posteriors of three units, the first of them the blank."""

    def __init__(self, probs: torch.Tensor) -> None:
        self.log_posterior = probs.log()

    def encode(self, speech: torch.Tensor, speech_lengths: torch.Tensor):
        return self.log_posterior, speech_lengths

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        return features


def test_features_of_silence_are_no_steps():
    unsure, spoken = [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]
    probs = torch.tensor([[unsure, unsure, spoken], [unsure, spoken, unsure]])
    lengths = torch.tensor([2, 3])  # what padding says does not count
    acoustic = Acoustic(probs)
    steps = hear_features(acoustic, MergeThenDrop(blank_id=0), torch.zeros(2, 3), lengths)
    assert steps.lengths.tolist() == [0, 3]
    steps = hear_features(acoustic, FrameSynchronous(blank_id=0), torch.zeros(2, 3), lengths)
    assert steps.lengths.tolist() == [2, 3]  # made without a posterior
