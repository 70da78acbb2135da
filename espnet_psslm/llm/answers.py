"""Answers: as tokens, as the search finds them, and as text.

Legend: B rows, N answers per row, L tokens written.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from espnet_psslm.bridge.clarity import Clarity
from espnet_psslm.text.scripts import UNSPACED

DEAD = -1e8  # transformers gives a place that no answer fills -1e9, or less


@dataclass(frozen=True)
class Answer:
    """One answer of the language model, in tokens."""

    token_ids: tuple[int, ...]  # without the end of turn
    log_prob: float  # of all that was written, end of turn included
    num_tokens: int  # that ``log_prob`` counts

    @property
    def score(self) -> float:
        """Log probability per token; 0 for an answer that the model was not asked for."""
        return self.log_prob / self.num_tokens if self.num_tokens else 0.0


UNASKED = Answer((), 0.0, 0)  # where reduction left nothing, or blanks alone


@dataclass(frozen=True)
class Hypothesis:
    """One answer, as text."""

    text: str
    token_ids: tuple[int, ...]  # without the end of turn; none of a fallback
    log_prob: float  # of the answer, end of turn included; of a fallback, CTC's
    num_tokens: int  # that ``log_prob`` counts; of a fallback, steps
    fallback: str = ""  # why the text is CTC's and not the language model's
    heard: Clarity | None = None  # of the Steps; None: they are no posteriors
    # Of the recording, the same for all its answers (inference/outside); None: not known.
    confidence: float | None = None  # in [0, 1]
    outside: bool = False  # it sounds unlike anything that the model was trained on

    @property
    def score(self) -> float:
        """Log probability per token; 0 for an empty reduction."""
        return self.log_prob / self.num_tokens if self.num_tokens else 0.0


def read_answers(output: Any, *, end_id: int, num_best: int) -> list[list[Answer]]:
    """Answers in what transformers' ``generate`` returns.

    Args:
        output: with ``sequences`` (B * N, L); and ``sequences_scores`` (B * N,) of a beam search,
            or ``logits``, L of (B, tokens), of a greedy one.
        end_id: the end of turn.
        num_best: N.

    Returns:
        Per row its answers, best first: at most N, fewer where the search found fewer.
    """
    sequences = output.sequences
    ended = sequences == end_id
    scored = ended.long().cumsum(1) - ended.long() == 0  # up to the first end of turn
    if "sequences_scores" in output:  # greedy search gives every token's own
        totals = output.sequences_scores
    else:
        log_prob = torch.stack(output.logits, 1).float().log_softmax(-1)
        totals = (log_prob.gather(2, sequences[..., None])[..., 0] * scored).sum(1)
    answers = []
    for ids, total, count in zip(
        sequences.tolist(), totals.tolist(), scored.sum(1).tolist(), strict=True
    ):
        length = ids.index(end_id) if end_id in ids else len(ids)
        answers.append(Answer(tuple(ids[:length]), total, count))
    rows = [answers[first : first + num_best] for first in range(0, len(answers), num_best)]
    return [[answer for answer in row if answer.log_prob > DEAD] for row in rows]


def join_texts(first: str, second: str) -> str:
    """Two texts behind each other, with a space but between Chinese or Japanese characters."""
    if not first or not second:
        return first or second
    unspaced = UNSPACED.match(first[-1]) and UNSPACED.match(second[0])
    return f"{first}{'' if unspaced else ' '}{second}"


def _join(first: Hypothesis, second: Hypothesis) -> Hypothesis:
    reasons = dict.fromkeys(filter(None, (first.fallback, second.fallback)))
    heard = None
    if first.heard is not None and second.heard is not None:
        heard = first.heard + second.heard
    return Hypothesis(
        join_texts(first.text, second.text),
        first.token_ids + second.token_ids,
        first.log_prob + second.log_prob,
        first.num_tokens + second.num_tokens,
        "; ".join(reasons),
        heard=heard,
    )


def join_hypotheses(pieces: Sequence[Sequence[Hypothesis]], *, num_best: int) -> list[Hypothesis]:
    """The best answers to a recording that was cut: one answer of each piece, sums decide.

    Args:
        pieces: answers of each piece, best first.
        num_best: answers to keep.
    """
    joined = list(pieces[0][:num_best])
    for piece in pieces[1:]:
        # Exact: what is not among the best of the first pieces is in none of the best of more.
        pairs = (_join(a, b) for a in joined for b in piece[:num_best])
        joined = heapq.nlargest(num_best, pairs, key=lambda hypothesis: hypothesis.log_prob)
    return joined
