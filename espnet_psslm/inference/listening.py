"""Samples: what is asked, and waveforms or what was heard of them.

Legend: N samples of a waveform.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from espnet_psslm.bridge.steps import Steps
from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.inference.answering import Question
from espnet_psslm.inference.long_audio import Fits, Recording, cut, recordings_of
from espnet_psslm.training.espnet_model import PSSLMModel


@dataclass(frozen=True)
class Sample:
    """What is asked, and of what."""

    key: str
    question: Question
    heard: np.ndarray | Recording  # a waveform (N,) at 16 kHz in [-1, 1], or what was heard
    path: str | None = None  # of the audio


class Listener:
    """Hears waveforms, in batches of like length, and cuts what is too long.

    Args:
        model: its acoustic model and projector set the limits.
        batch_size: waveforms per batch.
        whole_tasks: tasks whose answers cannot be joined (labels).
    """

    def __init__(self, model: PSSLMModel, *, batch_size: int, whole_tasks: Collection[str]) -> None:
        self.model = model
        self.batch_size = batch_size
        self.whole_tasks = whole_tasks

    def check(self, sample: Sample) -> None:
        """Raise ValueError where a waveform is too long to be heard or answered."""
        if self._is_long(sample):
            self._check_cut(
                sample,
                f"{len(sample.heard) / SAMPLE_RATE:.1f} s of audio",
                has_silence=self.model.acoustic.module.has_ctc,
            )

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        """The same samples, with what was heard in place of waveforms."""
        heard = [sample for batch in self.batches(samples) for sample in self.hear(batch)]
        found = {sample.key: sample for sample in heard}
        return [found.get(sample.key, sample) for sample in samples]

    def batches(self, samples: Sequence[Sample]) -> Iterator[list[Sample]]:
        """Those of waveforms, longest first; long ones alone."""
        waves = [sample for sample in samples if isinstance(sample.heard, np.ndarray)]
        # Longest first: memory that suffices for the first batch suffices for all.
        waves.sort(key=lambda sample: len(sample.heard), reverse=True)
        num_long = sum(map(self._is_long, waves))
        yield from ([sample] for sample in waves[:num_long])
        for start in range(num_long, len(waves), self.batch_size):
            yield waves[start : start + self.batch_size]

    def hear(self, samples: Sequence[Sample]) -> list[Sample]:
        """A batch of waveforms."""
        waves = [torch.from_numpy(sample.heard) for sample in samples]
        sizes = torch.tensor([len(wave) for wave in waves])
        device = next(self.model.parameters()).device
        speech = pad_sequence(waves, batch_first=True).to(device)
        heard = self.model.hear(speech, sizes.to(device))
        found = recordings_of(heard, frame_shift_s=self.model.acoustic.module.frame_shift_s)
        pairs = zip(samples, found, strict=True)
        return [replace(sample, heard=recording) for sample, recording in pairs]

    def pieces(self, sample: Sample, *, fits: Fits) -> list[Steps]:
        """The Steps of a sample that was heard, in pieces that fit the models.

        Args:
            sample: a recording.
            fits: how many steps the language model has room for.

        Raises:
            ValueError: if it must be cut and cannot.
        """
        recording, longest = sample.heard, None
        if recording.frame_shift_s is not None:
            seconds = self.model.acoustic.module.max_duration_s
            longest = math.ceil(round(seconds / recording.frame_shift_s, 6))
        if recording.num_frames <= (longest or math.inf) and fits(recording.steps.lengths).all():
            return [recording.steps]
        self._check_cut(sample, recording.size, has_silence=recording.blank is not None)
        spans = cut(recording, fits=fits, longest=longest)
        return [recording.piece(*span).steps for span in spans]

    def _is_long(self, sample: Sample) -> bool:
        acoustic = self.model.acoustic
        is_wave = isinstance(sample.heard, np.ndarray) and acoustic is not None
        return is_wave and acoustic.module.is_long(len(sample.heard))

    def _check_cut(self, sample: Sample, size: str, *, has_silence: bool) -> None:
        if (task := sample.question.task) in self.whole_tasks:
            raise ValueError(
                f"{size} are too long to be heard at once, and the answers of {task} are labels, "
                "which are not joined from pieces; cut it"
            )
        if has_silence:
            return
        if isinstance(sample.heard, Recording) and sample.heard.frame_shift_s is None:
            raise ValueError(
                f"{size} from text are more than fit into the language model's window of "
                f"{self.model.window} tokens, and text has no silences to cut at; shorten it"
            )
        raise ValueError(
            f"{size}, the models take {self.model.acoustic.module.max_duration_s:.0f} s or less, "
            "and without CTC no silence is found to cut at; cut it"
        )
