"""Samples that are too long for a model, in pieces that are not.

Audio may be longer than the acoustic model takes, and what is heard longer than the language
model's window. Such a sample is cut at silences (``bridge/cut``), each piece is answered by itself,
and the answers are joined.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from espnet_psslm.acoustic.log_mel import HOP
from espnet_psslm.bridge.cut import cut_audio, cut_steps
from espnet_psslm.bridge.steps_file import read_sample
from espnet_psslm.data.audio import SAMPLE_RATE
from espnet_psslm.llm.model import PSSLMModel

Sample = dict[str, np.ndarray]
STEP_FIELDS = ("unit_ids", "probs", "features")


class PieceCutter:
    """Cuts samples where they are too long.

    Args:
        model: its acoustic model and the window of its language model set the limits.
        max_new_tokens: longest answer, which stands in the window too.
        whole_tasks: tasks whose answers cannot be joined (labels).
    """

    def __init__(
        self, model: PSSLMModel, *, max_new_tokens: int, whole_tasks: Collection[str]
    ) -> None:
        self.model = model
        self.max_new_tokens = max_new_tokens
        self.whole_tasks = whole_tasks
        self.window = model.window

    def __call__(self, row: Mapping[str, Any], sample: Sample) -> list[Sample]:
        """Pieces of a sample, one where it fits.

        Args:
            row: of the manifest.
            sample: its arrays.

        Raises:
            ValueError: if it must be cut and cannot.
        """
        if self._fits(sample):
            return [sample]
        if row["task"] in self.whole_tasks:
            raise ValueError(
                f"{self._size(sample)} are too long to be heard at once, and the answers of "
                f"{row['task']} are labels, which are not joined from pieces; cut it"
            )
        parts = self._cut_speech(sample) if "speech" in sample else self._cut_steps(row, sample)
        return [sample | part for part in parts]

    def _fits(self, sample: Sample) -> bool:
        if "speech" not in sample:
            return bool(self._room_for(sample)(torch.tensor([_num_steps(sample)])))
        if self.model.acoustic is None:
            return True  # an error elsewhere
        if len(sample["speech"]) > self.model.acoustic.module.max_duration_s * SAMPLE_RATE:
            return False
        # No acoustic model has more frames than there are feature frames.
        return bool(self._room_for(sample)(torch.tensor([len(sample["speech"]) // HOP + 1])))

    def _room_for(self, sample: Sample) -> "_Room":
        if self.window is None:
            return _Room(self.model, None)
        prefix = self.model.prefixes.prefixes[int(sample["prompt_index"][0])]
        others = len(prefix) + len(sample["before_ids"]) + len(sample["after_ids"])
        return _Room(self.model, self.window - others - self.max_new_tokens)

    def _size(self, sample: Sample) -> str:
        if "speech" in sample:
            return f"{len(sample['speech']) / SAMPLE_RATE:.1f} s of audio"
        return f"{_num_steps(sample)} steps"

    def _cut_speech(self, sample: Sample) -> list[Sample]:
        acoustic = self.model.acoustic.module
        if not acoustic.has_ctc:
            raise ValueError(
                f"{self._size(sample)}, the models take {acoustic.max_duration_s:.0f} s or less, "
                "and without CTC no silence is found to cut at; cut it"
            )
        device = next(self.model.parameters()).device
        pieces = cut_audio(
            torch.from_numpy(sample["speech"]).to(device),
            acoustic,
            self.model.reduction,
            fits=self._room_for(sample),
        )
        return [{"speech": piece.cpu().numpy()} for piece in pieces]

    def _cut_steps(self, row: Mapping[str, Any], sample: Sample) -> list[Sample]:
        fields = [name for name in STEP_FIELDS if name in sample]
        if "steps" not in row:
            raise ValueError(
                f"{self._size(sample)} from text are more than fit into the language model's "
                f"window of {self.window} tokens, and text has no silences to cut at; shorten it"
            )
        _, spans = read_sample(row["steps"])
        places = cut_steps(spans, fits=self._room_for(sample))
        return [{name: sample[name][place] for name in fields} for place in places]


class _Room:
    """Whether numbers of steps fit into the language model's window beside all else."""

    def __init__(self, model: PSSLMModel, positions: int | None) -> None:
        self.model = model
        self.positions = positions  # left for the speech; None: no limit

    def __call__(self, num_steps: Tensor) -> Tensor:
        if self.positions is None:
            return torch.ones_like(num_steps, dtype=torch.bool)
        return self.model.projector.output_lengths(num_steps) <= self.positions


def _num_steps(sample: Sample) -> int:
    return len(sample["unit_ids"] if "unit_ids" in sample else sample["features"])
