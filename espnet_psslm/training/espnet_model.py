"""The speech language model as ESPnet's trainer sees it: a batch in, loss and statistics out."""

from collections.abc import Sequence
from typing import Any

import torch
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import Tensor, nn

from espnet_psslm.acoustic.base import AcousticModel, Heard
from espnet_psslm.bridge.phone_sync import Reduction
from espnet_psslm.bridge.projector import Projector
from espnet_psslm.bridge.steps import PosteriorSteps, Steps, join_utterances
from espnet_psslm.llm.frozen import Frozen, Held
from espnet_psslm.model import SpeechLM

SOURCE = ("given", "speech", "speech_lengths", "speech_rows")  # of the Steps of a batch


class PSSLMModel(SpeechLM, AbsESPnetModel):
    """``SpeechLM`` with what hears audio.

    Args:
        lm: see ``SpeechLM``.
        projector: see ``SpeechLM``.
        acoustic: acoustic model for samples with audio; None where there are none. Frozen.
        reduction: from its frames to Steps.
        step_kind: reduced posteriors, or reduced encoder outputs.
        options: the others of ``SpeechLM``; the reduction knows the blank.
    """

    def __init__(
        self,
        lm: nn.Module | Held,
        projector: Projector,
        *,
        acoustic: AcousticModel | None = None,
        reduction: Reduction | None = None,
        step_kind: type[Steps] = PosteriorSteps,
        **options: Any,
    ) -> None:
        blank_id = None if reduction is None else reduction.blank_id
        super().__init__(lm, projector, blank_id=blank_id, **options)
        self.acoustic = Frozen(acoustic) if acoustic is not None else None
        self.reduction = reduction
        self.step_kind = step_kind

    def hear(self, speech: Tensor, speech_lengths: Tensor) -> Heard:
        """Steps of waveforms (B, N) of (B,) samples.

        Raises:
            ValueError: if there is no acoustic model.
        """
        if self.acoustic is None:
            raise ValueError(
                "a sample has audio, but the model was built without an acoustic model: set "
                "acoustic_conf.train_config and acoustic_conf.model_file, or those of another "
                "--acoustic, or dump its Steps"
            )
        return self.acoustic.module.hear(
            speech, speech_lengths, self.reduction, kind=self.step_kind
        )

    def forward(
        self, *, kind: str | None = None, **batch: Any
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss of a batch.

        Args:
            kind: ``real`` or ``simulated`` speech; the accuracy is reported by it, too.
            batch: what ``steps`` takes, and the rest of what ``SpeechLM.loss`` does.

        Returns:
            Mean cross-entropy per target token, statistics and the number of target tokens, each
            of these (1,).
        """
        source = {name: batch.pop(name) for name in SOURCE if name in batch}
        loss, accuracy, weight = self.loss(self.steps(**source), **batch)
        # Of one dimension, which is what ESPnet averages over several processes.
        stats = {"loss": loss.detach()[None], "acc": accuracy[None]}
        if kind is not None:
            stats[f"acc_{kind}"] = stats["acc"]
        return loss, stats, weight[None].to(loss.dtype)

    def collect_feats(self, **batch: Tensor) -> dict[str, Tensor]:
        """Nothing: stage 10 collects lengths only."""
        return {}

    def steps(
        self,
        *,
        given: Steps | None = None,
        speech: Tensor | None = None,
        speech_lengths: Tensor | None = None,
        speech_rows: Sequence[int] = (),
    ) -> Steps:
        """The Steps of a batch, in the order of its samples.

        Args:
            given: of the samples without audio (simulated from text, or dumped).
            speech: (B', N), waveforms of the others; lengths (B',).
            speech_rows: their rows in the batch.
        """
        if speech is None:
            return given
        heard = self.hear(speech, speech_lengths).steps
        if given is None:
            return heard
        both = join_utterances([given, heard])
        order = [row for row in range(len(both.lengths)) if row not in speech_rows]
        place = torch.tensor([*order, *speech_rows]).argsort()
        return both.select(place).to(heard.lengths.device)
