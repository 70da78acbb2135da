"""Drafts of transcripts: CTC's text of the same Steps, in the language model's tokens."""

from collections.abc import Sequence
from typing import Any

from espnet_psslm.bridge.guard import ctc_texts
from espnet_psslm.bridge.phone_sync import Reduction
from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.llm.drafts import Drafts
from espnet_psslm.text.prompt import PromptBook
from espnet_psslm.text.tasks import TRANSCRIPTS
from espnet_psslm.text.units import Units

# A blank in front of a token, as byte-level BPE and SentencePiece write it.
WORD_MARKS = ("\u0120", "\u2581")


class CTCDrafts:
    """Writes drafts of those answers of a batch that are transcripts.

    Args:
        units: the CTC vocabulary.
        reduction: what made the Steps of frames.
        prompts: they split answers into tokens.
        tokenizer: of the language model.
    """

    def __init__(
        self, units: Units, *, reduction: Reduction, prompts: PromptBook, tokenizer: Any
    ) -> None:
        self.units = units
        self.reduction = reduction
        self.prompts = prompts
        self.tokenizer = tokenizer

    def __call__(self, tasks: Sequence[str], steps: PosteriorSteps) -> Drafts | None:
        """Drafts (B,) of answers to tasks (B,); None where none of these is a transcript."""
        if not any(task in TRANSCRIPTS for task in tasks):
            return None
        heard = ctc_texts(steps, units=self.units, reduction=self.reduction)
        token_ids = [
            self.prompts.encode_text(text) if task in TRANSCRIPTS else []
            for task, (text, _) in zip(tasks, heard, strict=True)
        ]
        return Drafts(token_ids, self._begins_word)

    def _begins_word(self, token_id: int) -> bool:
        return self.tokenizer.convert_ids_to_tokens(token_id).startswith(WORD_MARKS)
