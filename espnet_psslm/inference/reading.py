"""From the rows of a manifest to samples."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps, Steps
from espnet_psslm.data.preprocessor import PSSLMPreprocessor
from espnet_psslm.inference.answering import Answerer
from espnet_psslm.inference.listening import Listener, Sample
from espnet_psslm.inference.long_audio import Recording
from espnet_psslm.steps.made import OtherSteps

Row = Mapping[str, Any]


class RowReader:
    """Reads what rows give to hear; what was heard of an audio file before may be remembered.

    Args:
        preprocessor: reads audio, and simulates.
        answerer: makes the questions.
        listener: knows what can be heard.
        num_units: V; 0 of encoder outputs.
        blank_id: the CTC blank.
    """

    def __init__(
        self,
        preprocessor: PSSLMPreprocessor,
        answerer: Answerer,
        listener: Listener,
        *,
        num_units: int,
        blank_id: int,
    ) -> None:
        self.preprocessor = preprocessor
        self.answerer = answerer
        self.listener = listener
        self.num_units = num_units
        self.blank_id = blank_id
        self.remembered: dict[str, Recording] = {}  # by the path of the audio

    def read(self, rows: Sequence[Row], skipped: dict[str, str]) -> list[Sample]:
        """Samples of the rows that can be used; why others cannot goes into ``skipped``."""
        samples = []
        for row in rows:
            try:
                samples.append(self.sample(row, *self._heard_of(row)))
            except OtherSteps:  # nor would any other row of this dump be answered
                raise
            except ValueError as error:
                skipped[row["key"]] = str(error).removeprefix(f"sample '{row['key']}': ")
        return samples

    def remember(self, samples: Sequence[Sample]) -> None:
        """What was heard of audio files: kilobytes an utterance."""
        self.remembered |= {s.path: s.heard for s in samples if s.path is not None}

    def sample(self, row: Row, heard: np.ndarray | Recording, path: str | None = None) -> Sample:
        """A sample to be heard and answered.

        Args:
            row: ``key``, ``task``, and what the task's prompt asks for.
            heard: a waveform (N,) at 16 kHz in [-1, 1], or what was heard of one.
            path: of the audio.

        Raises:
            ValueError: if the task is unknown, a field lacks, or the waveform is too long.
        """
        sample = Sample(row["key"], self.answerer.question(row["task"], row), heard, path)
        self.listener.check(sample)
        return sample

    def _heard_of(self, row: Row) -> tuple[np.ndarray | Recording, str | None]:
        """What a row gives to hear, and the path of its audio.

        Raises:
            OtherSteps: if its dump was made otherwise.
            ValueError: if there is nothing, or it cannot be read.
        """
        source, value = self.preprocessor.speech_of(row)
        if source == "steps":
            arrays, spans = self.preprocessor.dumps.read(value)
            steps = replace(
                self._steps(arrays), frame_start=spans[None, :, 0], frame_end=spans[None, :, 1]
            )
            return Recording.dumped(steps, blank_id=self.blank_id), None
        if source == "audio" and value in self.remembered:
            return self.remembered[value], value
        _, rng = self.preprocessor.draw_prompt(row["key"], row["task"])
        arrays = self.preprocessor.speech_side(row, rng)
        if source == "audio":
            return arrays["speech"], value
        arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return Recording(self._steps(arrays)), None

    def _steps(self, arrays: Mapping[str, Tensor]) -> Steps:
        """One utterance, as it was dumped or simulated."""
        if "features" in arrays:
            values = arrays["features"]
            return FeatureSteps(values[None], torch.tensor([len(values)]))
        ids, probs = arrays["unit_ids"], arrays["probs"]
        return PosteriorSteps(ids[None], probs[None], torch.tensor([len(ids)]), self.num_units)
