"""From samples to a batch; text-only and audio samples may be mixed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from espnet_psslm.bridge.steps import (
    FeatureSteps,
    PosteriorSteps,
    collate_features,
    collate_steps,
)

Sample = dict[str, np.ndarray]  # what ``PSSLMPreprocessor`` gives
SAMPLES_PER_STEP = 4000  # about four units are spoken in a second of 16 kHz audio
TOKEN_FIELDS = ("before_ids", "after_ids", "target_ids")
SPEECH_FIELDS = ("speech", "unit_ids", "features")


class StepsCollate:
    """Pads the fields that ``PSSLMPreprocessor`` makes.

    Args:
        num_units: V of the CTC vocabulary.
        pad_id: token id on padding; hidden by masks.
    """

    def __init__(self, *, num_units: int, pad_id: int) -> None:
        self.num_units = num_units
        self.pad_id = pad_id

    def __call__(self, data: Sequence[tuple[str, Sample]]) -> tuple[list[str], dict[str, Any]]:
        """Keys and the keyword arguments of ``PSSLMModel.forward``.

        Raises:
            ValueError: if Steps of both kinds meet.
        """
        keys = [key for key, _ in data]
        samples = [sample for _, sample in data]
        batch: dict[str, Any] = {
            "prompt_index": [int(sample["prompt_index"][0]) for sample in samples],
        }
        for name in TOKEN_FIELDS:
            padded, lengths = _pad([sample[name] for sample in samples], self.pad_id)
            batch |= {name: padded, f"{name}_lengths": lengths}
        audio = [row for row, sample in enumerate(samples) if "speech" in sample]
        if audio:
            waves = [torch.from_numpy(samples[row]["speech"]) for row in audio]
            batch["speech"] = pad_sequence(waves, batch_first=True)
            batch["speech_lengths"] = torch.tensor([len(wave) for wave in waves])
            batch["speech_rows"] = audio
        posteriors = [
            (torch.from_numpy(sample["unit_ids"]), torch.from_numpy(sample["probs"]))
            for sample in samples
            if "unit_ids" in sample
        ]
        features = [torch.from_numpy(s["features"]) for s in samples if "features" in s]
        if features and posteriors:
            raise ValueError(
                f"a batch holds both posteriors ('{_first(data, 'unit_ids')}') and encoder outputs "
                f"('{_first(data, 'features')}'): dump all Steps with one --step_kind"
            )
        if features:
            batch["given"] = FeatureSteps(*collate_features(features))
        if posteriors:
            rows = collate_steps(posteriors, num_units=self.num_units)
            batch["given"] = PosteriorSteps(*rows, self.num_units)
        return keys, batch


def _pad(rows: Sequence[np.ndarray], padding: int) -> tuple[Tensor, Tensor]:
    """Ids of all samples (B, L), padded on the right, and lengths (B,)."""
    lengths = np.array([len(row) for row in rows])
    padded = np.full((len(rows), lengths.max()), padding)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.concatenate(rows)
    return torch.from_numpy(padded), torch.from_numpy(lengths)


def _first(data: list[tuple[str, Sample]], name: str) -> str:
    """Key of the first sample that has a field."""
    return next(key for key, sample in data if name in sample)


class LengthCollate:
    """Length of each sample's sequence, for the shape file of stage 10.

    The constant prefix counts although it is cached: what follows attends to it, and a batch of
    one prompt meets its prefix in one product. A sample without any step has the length 0: it is
    not trained on (``training/unheard``).

    Args:
        prefix_lengths: tokens of each prompt's prefix, by its index.
    """

    def __init__(self, *, prefix_lengths: Sequence[int]) -> None:
        self.prefix_lengths = prefix_lengths

    def __call__(self, data: list[tuple[str, Sample]]) -> tuple[list[str], dict[str, Any]]:
        """Keys, and ``length`` whose rows are as long as the samples' sequences."""
        lengths = torch.tensor([self._length(sample) for _, sample in data])
        rows = torch.zeros(len(data), int(lengths.max()))
        return [key for key, _ in data], {"length": rows, "length_lengths": lengths}

    def _length(self, sample: Sample) -> int:
        if not any(len(sample[name]) for name in SPEECH_FIELDS if name in sample):
            return 0
        spoken = len(sample.get("speech", ())) // SAMPLES_PER_STEP
        fields = (*TOKEN_FIELDS, "unit_ids", "features")
        tokens = sum(len(sample[name]) for name in fields if name in sample)
        return self.prefix_lengths[int(sample["prompt_index"][0])] + spoken + tokens
