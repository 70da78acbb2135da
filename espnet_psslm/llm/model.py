"""The speech language model: Steps -> projector -> prompt with speech -> language model.

    prefix (cached) | text before | speech steps | text behind | target
    <|im_start|>user\nTranscribe ...  [s1 s2 ... sU] <|im_end|>\n<|im_start|>assistant\n turn on ...

Training and generation build the same sequence by the same calls; generation leaves the target
out. A frozen language model passes gradients through to the projector and keeps none itself. One
that is trained itself (LoRA) reads the prefix anew in every training step; where no gradient is
asked for, its prefix is cached as a frozen one's.

Legend: B batch, U steps, K listed units, L positions, H language model width.
"""

from collections.abc import Sequence

import torch
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import Tensor, nn
from transformers import GenerationConfig

from espnet_psslm.acoustic.base import AcousticModel
from espnet_psslm.bridge.phone_sync import Reduction
from espnet_psslm.bridge.projector import Projector
from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps, Steps, join_utterances
from espnet_psslm.llm.answers import UNASKED, Answer, read_answers
from espnet_psslm.llm.frozen import Frozen, Held
from espnet_psslm.llm.frozen_head import output_loss
from espnet_psslm.llm.labels import LabelTrie
from espnet_psslm.llm.search_limits import Bounds, answer_limits
from espnet_psslm.llm.splice import splice
from espnet_psslm.llm.tuning import build_prefix_cache
from espnet_psslm.llm.window import Window, window_of


class PSSLMModel(AbsESPnetModel):
    """Phone-synchronous speech language model (TASU, arXiv 2511.03310).

    Args:
        lm: Hugging Face causal language model, frozen here; or one held as it is to be trained.
        projector: from Steps to (B, U, H).
        prefixes: token ids of each prompt's constant prefix.
        end_id: token that ends an answer.
        pad_id: any token of the vocabulary; hidden by masks.
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
        super().__init__()
        self.lm = lm if isinstance(lm, Held) else Frozen(lm)
        self.projector = projector
        self.prefixes = build_prefix_cache(self.lm, prefixes)
        self.end_id = end_id
        self.pad_id = pad_id
        self.acoustic = Frozen(acoustic) if acoustic is not None else None
        self.reduction = reduction
        self.step_kind = step_kind
        self.fits = Window(prefixes)

    @property
    def window(self) -> int | None:
        """Positions that the language model has; None: no limit is known."""
        return window_of(self.lm.module)

    def forward(
        self,
        *,
        target_ids: Tensor,
        target_ids_lengths: Tensor,
        utt_id: list[str],
        kind: str | None = None,
        **inputs: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss of a batch.

        A sample that is longer than the language model's window is left out.

        Args:
            target_ids: (B, Lt), answer and end of turn, right-padded.
            target_ids_lengths: (B,).
            utt_id: keys of the samples, for messages.
            kind: ``real`` or ``simulated`` speech; the accuracy is reported by it, too.
            inputs: see ``context``.

        Returns:
            Mean cross-entropy per target token, statistics and the number of target tokens, each
            of these (1,).
        """
        context, prompt_index, _ = self.context(**inputs)
        fed = target_ids[:, :-1]  # the last token of each row is only ever predicted
        context.append((self._embed(fed), target_ids_lengths - 1))
        kept = self.fits.fitting(self.window, context, prompt_index, utt_id)
        if len(kept) < len(utt_id):
            if not kept:
                return self._no_loss(kind)
            context = [(values[kept], lengths[kept]) for values, lengths in context]
            prompt_index = [prompt_index[row] for row in kept]
            target_ids, target_ids_lengths = target_ids[kept], target_ids_lengths[kept]
        embeddings, mask = splice(context)
        if self.lm.trained and torch.is_grad_enabled():
            self.prefixes.clear()  # an update comes: fused optimizers do not raise the version
            behind = self.prefixes.forward_uncached
        else:
            self.prefixes.keep_if(self.lm.version)
            behind = self.prefixes.forward
        hidden = behind(self.lm.module, embeddings, mask, prompt_index)

        # The state that predicts target j stands j places behind the last context token.
        offset = sum(lengths for _, lengths in context[:-1]) - 1
        place = offset[:, None] + torch.arange(target_ids.shape[1], device=target_ids.device)
        real = (
            torch.arange(target_ids.shape[1], device=target_ids.device)
            < target_ids_lengths[:, None]
        )
        row = torch.arange(len(target_ids), device=fed.device)[:, None].expand_as(real)
        loss, accuracy = output_loss(
            self.lm.module, hidden[row[real], place[real]], target_ids[real]
        )
        weight = target_ids_lengths.sum()[None].to(loss.dtype)
        return loss, _statistics(loss, accuracy, kind), weight

    def _no_loss(self, kind: str | None) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Of a batch that is left out as a whole; every parameter has a gradient, of zeros."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        loss = sum((parameter.sum() * 0.0 for parameter in trained), torch.zeros(()))
        # Not 0: averages divide by the sum of the weights.
        weight = torch.full_like(loss.detach()[None], 1e-6)
        return loss, _statistics(loss, torch.zeros_like(loss.detach()), kind), weight

    def collect_feats(self, **batch: Tensor) -> dict[str, Tensor]:
        """Nothing: stage 10 collects lengths only."""
        return {}

    def context(
        self,
        *,
        prompt_index: list[int],
        before_ids: Tensor,
        before_ids_lengths: Tensor,
        after_ids: Tensor,
        after_ids_lengths: Tensor,
        **source: Tensor,
    ) -> tuple[list[tuple[Tensor, Tensor]], list[int], Tensor]:
        """Everything between the constant prefix and the answer, as segments to splice.

        Beside them, the prompts, and the number of steps heard (B,), of which a projector may make
        more or fewer embeddings; none were heard where every step is most likely blank.

        Args:
            prompt_index: (B,), prompt of each sample, a plain list.
            before_ids: (B, L), tokens between prefix and speech; ``_lengths`` (B,).
            after_ids: (B, L), tokens behind the speech; ``_lengths`` (B,).
            source: see ``steps``.
        """
        steps = self.steps(**source)
        speech = self.projector(steps).to(self.lm.dtype)
        segments = [
            (self._embed(before_ids), before_ids_lengths),
            (speech, self.projector.output_lengths(steps.lengths)),
            (self._embed(after_ids), after_ids_lengths),
        ]
        return segments, prompt_index, self._num_heard(steps)

    def _num_heard(self, steps: Steps) -> Tensor:
        """(B,). Only a reduction knows the blank, and only of posteriors it is known here."""
        if self.reduction is None or not isinstance(steps, PosteriorSteps):
            return steps.lengths
        return steps.lengths * steps.has_unit(blank_id=self.reduction.blank_id)

    def steps(
        self,
        *,
        unit_ids: Tensor | None = None,
        probs: Tensor | None = None,
        unit_ids_lengths: Tensor | None = None,
        num_units: int = 0,
        features: Tensor | None = None,
        features_lengths: Tensor | None = None,
        speech: Tensor | None = None,
        speech_lengths: Tensor | None = None,
        speech_rows: list[int] | None = None,
    ) -> Steps:
        """The Steps of a batch, given (simulated from text, or dumped) and heard in audio.

        Args:
            unit_ids: (B', U, K) of the samples without audio; ``probs`` likewise.
            unit_ids_lengths: (B',).
            num_units: V.
            features: (B', U, D) in place of these, ``features_lengths`` (B',).
            speech: (B'', N), waveforms of the others; ``speech_lengths`` (B'',).
            speech_rows: their rows in the batch.
        """
        given = None
        if unit_ids is not None:
            given = PosteriorSteps(unit_ids, probs, unit_ids_lengths, num_units)
        elif features is not None:
            given = FeatureSteps(features, features_lengths)
        if speech is None:
            return given
        if self.acoustic is None:
            raise ValueError(
                "a sample has audio, but the model was built without an acoustic model: set "
                "acoustic_conf.train_config and acoustic_conf.model_file, or dump its Steps"
            )
        heard = self.acoustic.module.to_steps(
            speech, speech_lengths, self.reduction, kind=self.step_kind
        )
        if given is None:
            return heard
        both = join_utterances([given, heard])
        rows = range(len(both.lengths))
        order = [row for row in rows if row not in speech_rows] + list(speech_rows)
        return both.select(torch.tensor(order).argsort()).to(heard.lengths.device)

    def _embed(self, token_ids: Tensor) -> Tensor:
        return self.lm.module.get_input_embeddings()(token_ids)

    def generate(self, **options: object) -> list[tuple[tuple[int, ...], float]]:
        """The best of ``generate_nbest``: its token ids and log probability per token."""
        return [(best.token_ids, best.score) for best, *_ in self.generate_nbest(**options)]

    @torch.no_grad()
    def generate_nbest(
        self,
        *,
        beam_size: int = 4,
        num_best: int = 1,
        max_new_tokens: int = 200,
        max_len_ratio: float = 0.0,
        labels: Sequence[LabelTrie | None] | None = None,
        **inputs: Tensor,
    ) -> list[list[Answer]]:
        """Answer a batch by beam search.

        Args:
            beam_size: beams; 1 is greedy.
            num_best: answers per sample, at most ``beam_size``.
            max_new_tokens: longest answer, end of turn included.
            max_len_ratio: longest answer in tokens per step heard; 0: no such limit.
            labels: (B,), what each sample's answer must be one of; None: anything.
            inputs: see ``context``.

        Returns:
            Per sample its answers, best first: at least one, and fewer than ``num_best`` only
            where fewer are possible. A sample whose reduction is empty, or holds blanks alone
            (silence), gets an empty answer; the model is not asked.
        """
        context, prompt_index, num_steps = self.context(**inputs)
        heard = num_steps.nonzero()[:, 0]
        answers = [[UNASKED] for _ in prompt_index]
        if not len(heard):
            return answers
        embeddings, mask = splice([(v[heard], n[heard]) for v, n in context], pad_left=True)
        rows = heard.tolist()
        tries = None if labels is None else [labels[row] for row in rows]
        limits = None
        if max_len_ratio:
            limits = answer_limits(num_steps[heard], max_len_ratio=max_len_ratio)
            for row, trie in enumerate(tries or ()):
                if trie is not None:  # labels are not the longer for what was said
                    limits[row] = trie.longest
            max_new_tokens = min(max_new_tokens, int(limits.max()))
        config = self._search_config(beam_size, num_best, max_new_tokens)
        self.prefixes.keep_if(self.lm.version)
        output = self.prefixes.generate(
            self.lm.module,
            embeddings,
            mask,
            [prompt_index[row] for row in rows],
            config,
            Bounds(limits, tries),
        )
        found = read_answers(output, end_id=self.end_id, num_best=num_best)
        for row, best in zip(rows, found, strict=True):
            answers[row] = best
        return answers

    def _search_config(
        self, beam_size: int, num_best: int, max_new_tokens: int
    ) -> GenerationConfig:
        return GenerationConfig(
            num_beams=beam_size,
            num_return_sequences=num_best,
            max_new_tokens=max_new_tokens,
            # Sums, as in ESPnet: a mean over tokens rewards an answer that repeats itself for ever.
            length_penalty=0.0,
            do_sample=False,
            eos_token_id=self.end_id,
            pad_token_id=self.pad_id,
            return_dict_in_generate=True,
            output_scores=beam_size > 1,
            output_logits=beam_size == 1,
        )


def _statistics(loss: Tensor, accuracy: Tensor, kind: str | None) -> dict[str, Tensor]:
    # Of one dimension, which is what ESPnet averages over several processes.
    stats = {"loss": loss.detach()[None], "acc": accuracy[None]}
    if kind is not None:
        stats[f"acc_{kind}"] = stats["acc"]
    return stats
