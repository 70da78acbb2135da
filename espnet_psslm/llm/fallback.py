"""Answers that the guard does not trust, replaced by CTC's text of the same Steps."""

from collections.abc import Sequence

from espnet_psslm.bridge.clarity import Clarity
from espnet_psslm.bridge.guard import Guard, ctc_texts
from espnet_psslm.bridge.phone_sync import Reduction
from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.llm.answers import Hypothesis
from espnet_psslm.text.units import Units


class CTCFallback:
    """Compares answers with CTC's text and falls back to it.

    Args:
        guard: what is trusted.
        units: the CTC vocabulary.
        reduction: what made the Steps of frames.
    """

    def __init__(self, guard: Guard, *, units: Units, reduction: Reduction) -> None:
        self.guard = guard
        self.units = units
        self.reduction = reduction

    def __call__(
        self, found: Sequence[list[Hypothesis]], tasks: Sequence[str], steps: PosteriorSteps
    ) -> list[list[Hypothesis]]:
        """The same answers (B,), but one alone, CTC's, where the best is not to be trusted.

        Args:
            found: answers to each sample, best first.
            tasks: (B,); those that the guard does not name are left alone.
            steps: what the answers were given to.
        """
        heard = ctc_texts(steps, units=self.units, reduction=self.reduction)
        return [
            self._check(answers, *one) if task in self.guard.tasks else answers
            for answers, one, task in zip(found, heard, tasks, strict=True)
        ]

    def _check(self, answers: list[Hypothesis], text: str, clarity: Clarity) -> list[Hypothesis]:
        if reason := self.guard.reason(answers[0].text, text):
            return [
                Hypothesis(text, (), clarity.log_prob, clarity.num_steps, reason, heard=clarity)
            ]
        return answers
