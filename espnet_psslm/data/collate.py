"""From samples to a batch; text-only and audio samples may be mixed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from espnet_psslm.bridge.columns import Column, Sample, TextSamples
from espnet_psslm.bridge.steps import collate_features, collate_steps, uniform_rows

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
        """Keys and the keyword arguments of ``PSSLMModel.forward``."""
        if isinstance(data, TextSamples):
            return data.uids, self._texts(data)
        keys = [key for key, _ in data]
        samples = [sample for _, sample in data]
        batch: dict[str, Any] = {
            "prompt_index": [int(sample["prompt_index"][0]) for sample in samples],
            "num_units": self.num_units,
        }
        for name in TOKEN_FIELDS:
            column = Column.of_arrays([sample[name] for sample in samples])
            batch[name], batch[f"{name}_lengths"] = _pad(column, self.pad_id)
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
            values, lengths = collate_features(features)
            batch |= {"features": values, "features_lengths": lengths}
        if posteriors:
            ids, probs, lengths = collate_steps(posteriors, num_units=self.num_units)
            batch |= {"unit_ids": ids, "probs": probs, "unit_ids_lengths": lengths}
        return keys, batch

    def _texts(self, samples: TextSamples) -> dict[str, Any]:
        """What the call makes of samples whose speech side is made from text."""
        batch: dict[str, Any] = {
            "prompt_index": samples.prompt_index,
            "num_units": self.num_units,
        }
        for name in TOKEN_FIELDS:
            batch[name], batch[f"{name}_lengths"] = _pad(samples.columns[name], self.pad_id)
        unit_ids, probs = samples.columns["unit_ids"], samples.columns["probs"]
        if not len(unit_ids.values):  # one slot, as collate_steps gives a batch without a step
            unit_ids, probs = (Column(c.values[:, :1], c.ends) for c in (unit_ids, probs))
        padding = uniform_rows(1, unit_ids.values.shape[1], self.num_units)
        batch["unit_ids"], lengths = _pad(unit_ids, padding[0][0].numpy(), least=1)
        batch["probs"], _ = _pad(probs, padding[1][0].numpy(), least=1)
        return batch | {"unit_ids_lengths": lengths}


def _pad(column: Column, padding: int | np.ndarray, *, least: int = 0) -> tuple[Tensor, Tensor]:
    """All samples (B, L, ...), padded on the right, and lengths (B,)."""
    padding = np.asarray(padding, dtype=column.values.dtype)
    padded, lengths = column.padded(padding, least=least)
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
