"""From questions to hypotheses: batches of like length, search, text.

Legend: B questions, U steps.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from espnet_psslm.bridge.clarity import Clarity, clarity_of
from espnet_psslm.bridge.steps import PosteriorSteps, Steps, join_utterances
from espnet_psslm.inference.drafting import CTCDrafts
from espnet_psslm.inference.long_audio import Fits
from espnet_psslm.llm.answers import Answer, Hypothesis
from espnet_psslm.llm.fallback import CTCFallback
from espnet_psslm.llm.labels import LabelTrie
from espnet_psslm.llm.search import Search
from espnet_psslm.model import SpeechLM
from espnet_psslm.text.prompt import PromptBook


@dataclass(frozen=True)
class Question:
    """A prompt, whose tokens stand around what is heard."""

    task: str
    prompt: int  # its index
    before_ids: Sequence[int]
    after_ids: Sequence[int]


class Answerer:
    """Asks the language model about what was heard.

    Args:
        model: whom to ask.
        prompts: what to ask.
        tokenizer: of the language model.
        search: how answers are searched for.
        batch_size: questions per batch.
        choices: task -> labels that its answers must be one of.
        fallback: to CTC's text; None: never.
        drafts: of transcripts, for greedy search; None: the Steps hold no text.
    """

    def __init__(
        self,
        model: SpeechLM,
        prompts: PromptBook,
        tokenizer: Any,
        *,
        search: Search,
        batch_size: int,
        choices: Mapping[str, LabelTrie],
        fallback: CTCFallback | None,
        drafts: CTCDrafts | None,
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.tokenizer = tokenizer
        self.search = search
        self.batch_size = batch_size
        self.choices = choices
        self.fallback = fallback
        self.drafts = drafts

    def question(self, task: str, fields: Mapping[str, Any]) -> Question:
        """The first prompt of a task.

        Args:
            task: of the prompt file.
            fields: what the prompt asks for.

        Raises:
            ValueError: if there is no such task, or a field lacks.
        """
        prompt = self.prompts.indices(task)[0]
        return Question(task, prompt, *self.prompts.token_ids(prompt, fields))

    def room(self, question: Question) -> Fits:
        """How many steps fit into the language model's window beside prompt and answer."""
        if self.model.window is None:
            return lambda num_steps: torch.ones_like(num_steps, dtype=torch.bool)
        prefix = self.model.prefixes.prefixes[question.prompt]
        around = len(prefix) + len(question.before_ids) + len(question.after_ids)
        positions = self.model.window - around - self.search.max_new_tokens
        return lambda num_steps: self.model.projector.output_lengths(num_steps) <= positions

    def __call__(
        self, asked: Sequence[tuple[Question, Steps]]
    ) -> Iterator[dict[int, list[Hypothesis]]]:
        """Answer all questions.

        Args:
            asked: each with the Steps of one utterance, on the host.

        Yields:
            For each batch, answers by place in ``asked``, best first.
        """
        # Longest first: memory that suffices for the first batch suffices for all.
        order = sorted(range(len(asked)), key=lambda i: -int(asked[i][1].lengths[0]))
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            questions, steps = zip(*(asked[place] for place in places), strict=True)
            yield dict(zip(places, self._answer(questions, steps), strict=True))

    def inputs(
        self, questions: Sequence[Question], parts: Sequence[Steps]
    ) -> tuple[Steps, dict[str, Any]]:
        """Steps and prompts of a batch, as ``SpeechLM`` takes them."""
        device = next(self.model.parameters()).device
        prompts: dict[str, Any] = {"prompt_index": [question.prompt for question in questions]}
        for name in ("before_ids", "after_ids"):
            rows = [torch.tensor(getattr(q, name), dtype=torch.long) for q in questions]
            padded = pad_sequence(rows, batch_first=True, padding_value=self.model.pad_id)
            prompts[name] = padded.to(device)
            prompts[f"{name}_lengths"] = torch.tensor([len(row) for row in rows], device=device)
        return join_utterances(parts).to(device), prompts

    def _answer(
        self, questions: Sequence[Question], parts: Sequence[Steps]
    ) -> list[list[Hypothesis]]:
        steps, prompts = self.inputs(questions, parts)
        tasks = [question.task for question in questions]
        labels = [self.choices.get(task) for task in tasks] if self.choices else None
        drafts = None if self.drafts is None else self.drafts(tasks, steps)
        answers = self.model.answer(steps, self.search, labels=labels, drafts=drafts, **prompts)
        heard = clarity_of(steps) if isinstance(steps, PosteriorSteps) else [None] * len(tasks)
        found = [
            [self._hypothesis(answer, task, clarity) for answer in best]
            for best, task, clarity in zip(answers, tasks, heard, strict=True)
        ]
        return found if self.fallback is None else self.fallback(found, tasks, steps)

    def _hypothesis(self, answer: Answer, task: str, heard: Clarity | None) -> Hypothesis:
        if task in self.choices and answer.num_tokens:
            text = self.choices[task].text(answer.token_ids)
        else:
            text = self.tokenizer.decode(answer.token_ids, skip_special_tokens=True).strip()
        return Hypothesis(text, answer.token_ids, answer.log_prob, answer.num_tokens, heard=heard)
