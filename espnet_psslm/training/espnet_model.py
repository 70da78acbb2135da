"""The speech language model as ESPnet's trainer sees it: a batch in, loss and statistics out."""

from collections.abc import Sequence

import torch
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import Tensor, nn

from espnet_psslm.acoustic.base import AcousticModel, Heard
from espnet_psslm.bridge.phone_sync import Reduction
from espnet_psslm.bridge.projector import Projector
from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps, Steps, join_utterances
from espnet_psslm.llm.frozen import Frozen, Held
from espnet_psslm.model import SpeechLM


class PSSLMModel(SpeechLM, AbsESPnetModel):
    """``SpeechLM`` with what hears audio.

    Args:
        lm: see ``SpeechLM``; so are the others up to ``pad_id``.
        projector: Steps to embeddings.
        prefixes: of the prompts.
        end_id: ends an answer.
        pad_id: hidden by masks.
        acoustic: acoustic model for samples with audio; None where there are none. Frozen.
        reduction: from its frames to Steps.
        step_kind: reduced posteriors, or reduced encoder outputs.
    """

    def __init__(
        self,
        lm: nn.Module | Held,
        projector: Projector,
        *,
        prefixes: Sequence[Sequence[int]],
        end_id: int,
        pad_id: int,
        acoustic: AcousticModel | None = None,
        reduction: Reduction | None = None,
        step_kind: type[Steps] = PosteriorSteps,
    ) -> None:
        super().__init__(
            lm,
            projector,
            prefixes=prefixes,
            end_id=end_id,
            pad_id=pad_id,
            blank_id=None if reduction is None else reduction.blank_id,
        )
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
        self,
        *,
        prompt_index: list[int],
        before_ids: Tensor,
        before_ids_lengths: Tensor,
        after_ids: Tensor,
        after_ids_lengths: Tensor,
        target_ids: Tensor,
        target_ids_lengths: Tensor,
        utt_id: list[str],
        kind: str | None = None,
        **source: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss of a batch.

        Args:
            prompt_index: see ``SpeechLM.loss``; so are the others up to ``utt_id``.
            before_ids: (B, L).
            before_ids_lengths: (B,).
            after_ids: (B, L).
            after_ids_lengths: (B,).
            target_ids: (B, Lt).
            target_ids_lengths: (B,).
            utt_id: keys.
            kind: ``real`` or ``simulated`` speech; the accuracy is reported by it, too.
            source: see ``steps``.

        Returns:
            Mean cross-entropy per target token, statistics and the number of target tokens, each
            of these (1,).
        """
        loss, accuracy, weight = self.loss(
            self.steps(**source),
            prompt_index=prompt_index,
            before_ids=before_ids,
            before_ids_lengths=before_ids_lengths,
            after_ids=after_ids,
            after_ids_lengths=after_ids_lengths,
            target_ids=target_ids,
            target_ids_lengths=target_ids_lengths,
            utt_id=utt_id,
        )
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
        num_units: int = 0,
        unit_ids: Tensor | None = None,
        probs: Tensor | None = None,
        unit_ids_lengths: Tensor | None = None,
        features: Tensor | None = None,
        features_lengths: Tensor | None = None,
        speech: Tensor | None = None,
        speech_lengths: Tensor | None = None,
        speech_rows: Sequence[int] = (),
    ) -> Steps:
        """The Steps of a batch, given (simulated from text, or dumped) and heard in audio.

        Args:
            num_units: V.
            unit_ids: (B', U, K) of the samples without audio; ``probs`` likewise.
            probs: (B', U, K).
            unit_ids_lengths: (B',).
            features: (B', U, D) in place of these, ``features_lengths`` (B',).
            features_lengths: (B',).
            speech: (B'', N), waveforms of the others; ``speech_lengths`` (B'',).
            speech_lengths: (B'',).
            speech_rows: their rows in the batch.
        """
        given: Steps | None = None
        if unit_ids is not None:
            given = PosteriorSteps(unit_ids, probs, unit_ids_lengths, num_units)
        elif features is not None:
            given = FeatureSteps(features, features_lengths)
        if speech is None:
            return given
        heard = self.hear(speech, speech_lengths).steps
        if given is None:
            return heard
        both = join_utterances([given, heard])
        order = [row for row in range(len(both.lengths)) if row not in speech_rows]
        place = torch.tensor([*order, *speech_rows]).argsort()
        return both.select(place).to(heard.lengths.device)
