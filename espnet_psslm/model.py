"""The speech language model: Steps -> projector -> prompt with speech -> language model.

    prefix (cached) | text before | speech steps | text behind | target
    <|im_start|>user\nTranscribe ...  [s1 s2 ... sU] <|im_end|>\n<|im_start|>assistant\n turn on ...

Loss and answers build the same sequence by the same calls; answers leave the target out. A frozen
language model passes gradients through to the projector and keeps none itself. One that is trained
itself (LoRA) reads the prefix anew in every training step; where no gradient is asked for, its
prefix is cached as a frozen one's.

Legend: B batch, U steps, K listed units, L positions, H language model width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from espnet_psslm.bridge.projector import Projector
from espnet_psslm.bridge.steps import PosteriorSteps, Steps
from espnet_psslm.llm.answers import UNASKED, Answer, read_answers
from espnet_psslm.llm.drafts import Drafts, answer_by_drafts
from espnet_psslm.llm.frozen import Frozen, Held
from espnet_psslm.llm.frozen_head import output_loss
from espnet_psslm.llm.labels import LabelTrie
from espnet_psslm.llm.search import Search
from espnet_psslm.llm.search_limits import Bounds, answer_limits
from espnet_psslm.llm.splice import splice
from espnet_psslm.llm.tuning import build_prefix_cache
from espnet_psslm.llm.window import Window, window_of

Segments = list[tuple[Tensor, Tensor]]  # (B, L, H) and lengths (B,) of each


class SpeechLM(nn.Module):
    """Phone-synchronous speech language model (TASU, arXiv 2511.03310).

    Args:
        lm: Hugging Face causal language model, frozen here; or one held as it is to be trained.
        projector: from Steps to (B, U, H).
        prefixes: token ids of each prompt's constant prefix.
        end_id: token that ends an answer.
        pad_id: any token of the vocabulary; hidden by masks.
        blank_id: the CTC blank, where Steps are posteriors that may hold it.
    """

    def __init__(
        self,
        lm: nn.Module | Held,
        projector: Projector,
        *,
        prefixes: Sequence[Sequence[int]],
        end_id: int,
        pad_id: int,
        blank_id: int | None = None,
    ) -> None:
        super().__init__()
        self.lm = lm if isinstance(lm, Held) else Frozen(lm)
        self.projector = projector
        self.prefixes = build_prefix_cache(self.lm, prefixes)
        self.end_id = end_id
        self.pad_id = pad_id
        self.blank_id = blank_id
        self.fits = Window(prefixes)

    @property
    def window(self) -> int | None:
        """Positions that the language model has; None: no limit is known."""
        return window_of(self.lm.module)

    def loss(
        self,
        steps: Steps,
        *,
        prompt_index: list[int],
        target_ids: Tensor,
        target_ids_lengths: Tensor,
        utt_id: Sequence[str],
        **around: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean cross-entropy per target token of a batch.

        A sample that is longer than the language model's window is left out.

        Args:
            steps: of B samples.
            prompt_index: (B,), prompt of each sample, a plain list.
            target_ids: (B, Lt), answer and end of turn, right-padded.
            target_ids_lengths: (B,).
            utt_id: keys of the samples, for messages.
            around: see ``context``.

        Returns:
            Loss; share of target tokens that are the likeliest; number of target tokens, each ().
        """
        context = self.context(steps, **around)
        fed = target_ids[:, :-1]  # the last token of each row is only ever predicted
        context.append((self._embed(fed), target_ids_lengths - 1))
        kept = self.fits.fitting(self.window, context, prompt_index, utt_id)
        if len(kept) < len(utt_id):
            if not kept:
                return self._no_loss()
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
        return loss, accuracy, target_ids_lengths.sum()

    def _no_loss(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of a batch that is left out as a whole; every parameter has a gradient, of zeros."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        loss = sum((parameter.sum() * 0.0 for parameter in trained), torch.zeros(()))
        # Not 0: averages divide by the sum of the weights.
        return loss, torch.zeros_like(loss.detach()), torch.full_like(loss.detach(), 1e-6)

    def context(
        self,
        steps: Steps,
        *,
        before_ids: Tensor,
        before_ids_lengths: Tensor,
        after_ids: Tensor,
        after_ids_lengths: Tensor,
    ) -> Segments:
        """Everything between the constant prefix and the answer, as segments to splice.

        Args:
            steps: of B samples.
            before_ids: (B, L), tokens between prefix and speech; ``_lengths`` (B,).
            after_ids: (B, L), tokens behind the speech; ``_lengths`` (B,).
        """
        speech = self.projector(steps).to(self.lm.dtype)
        return [
            (self._embed(before_ids), before_ids_lengths),
            (speech, self.projector.output_lengths(steps.lengths)),
            (self._embed(after_ids), after_ids_lengths),
        ]

    def num_heard(self, steps: Steps) -> Tensor:
        """(B,), steps in which something was said; 0 where all are most likely the blank."""
        if self.blank_id is None or not isinstance(steps, PosteriorSteps):
            return steps.lengths
        return steps.lengths * steps.has_unit(blank_id=self.blank_id)

    def _embed(self, token_ids: Tensor) -> Tensor:
        return self.lm.module.get_input_embeddings()(token_ids)

    @torch.no_grad()
    def answer(
        self,
        steps: Steps,
        search: Search,
        *,
        prompt_index: list[int],
        labels: Sequence[LabelTrie | None] | None = None,
        drafts: Drafts | None = None,
        **around: Tensor,
    ) -> list[list[Answer]]:
        """Answer a batch by beam search.

        Args:
            steps: of B samples.
            search: options.
            prompt_index: (B,), prompt of each sample, a plain list.
            labels: (B,), what each sample's answer must be one of; None: anything.
            drafts: what the answers might be, which makes greedy search faster and changes
                nothing; None: not known.
            around: see ``context``.

        Returns:
            Per sample its answers, best first: at least one, and fewer than ``nbest`` only where
            fewer are possible. A sample whose reduction is empty, or holds blanks alone (silence),
            gets an empty answer; the model is not asked.
        """
        num_steps = self.num_heard(steps)
        heard = num_steps.nonzero()[:, 0]
        answers = [[UNASKED] for _ in prompt_index]
        if not len(heard):
            return answers
        context = self.context(steps, **around)
        embeddings, mask = splice([(v[heard], n[heard]) for v, n in context], pad_left=True)
        rows = heard.tolist()
        tries = None if labels is None else [labels[row] for row in rows]
        limits, longest = None, search.max_new_tokens
        if search.max_len_ratio:
            limits = answer_limits(num_steps[heard], max_len_ratio=search.max_len_ratio)
            for row, trie in enumerate(tries or ()):
                if trie is not None:  # labels are not the longer for what was said
                    limits[row] = trie.longest
            longest = min(longest, int(limits.max()))
        self.prefixes.keep_if(self.lm.version)
        asked = [prompt_index[row] for row in rows]
        is_plain = search.beam_size == 1 and tries is None
        if drafts is not None and is_plain and self.prefixes.takes_drafts:
            written = drafts.answers(rows, longest=longest, limits=limits, end_id=self.end_id)
            words = drafts.begins_word
            lm = self.lm.module
            answer_by_drafts(lm, self.prefixes, embeddings, mask, asked, written, begins_word=words)
            for row, one in zip(rows, written, strict=True):
                answers[row] = [one.answer()]
            return answers
        output = self.prefixes.generate(
            self.lm.module,
            embeddings,
            mask,
            asked,
            search.config(max_new_tokens=longest, end_id=self.end_id, pad_id=self.pad_id),
            Bounds(limits, tries),
        )
        found = read_answers(output, end_id=self.end_id, num_best=search.nbest)
        for row, best in zip(rows, found, strict=True):
            answers[row] = best
        return answers
