"""What bounds a search: labels, a longest answer per row, and that nothing can beat the best.

Legend: B rows, W beams, R = B * W, N answers wanted of each row, L tokens written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from espnet_psslm.llm.labels import KeepToLabels, LabelTrie

SHORTEST = 8  # tokens that every answer may have: labels are not the longer for what was said
UNUSED = -1e9  # log probability that transformers gives to beams that are not in use


def answer_limits(num_steps: Tensor, *, max_len_ratio: float) -> Tensor:
    """Tokens that each answer may have, end of turn included; ESPnet's ``maxlenratio``.

    An answer that repeats itself would otherwise run to the limit of all tasks, and hold up its
    batch.

    Args:
        num_steps: (B,), steps heard.
        max_len_ratio: tokens per step.

    Returns:
        (B,).
    """
    return (num_steps * max_len_ratio).ceil().long().clamp(min=SHORTEST)


@dataclass(frozen=True)
class Bounds:
    """What bounds the answers of a batch, row by row."""

    limits: Tensor | None = None  # (B,), tokens, end of turn included; None: the configuration's
    labels: Sequence[LabelTrie | None] | None = None  # (B,); None: all rows answer freely

    def select(self, order: Tensor) -> "Bounds":
        """The same for rows in another order (B,)."""
        return Bounds(
            None if self.limits is None else self.limits[order],
            None if self.labels is None else [self.labels[row] for row in order.tolist()],
        )


def search_limits(bounds: Bounds, config: GenerationConfig) -> LogitsProcessorList:
    """What makes ``generate`` keep to labels and stop in time.

    Args:
        bounds: of the rows.
        config: of the search; sums of log probabilities decide in it (``length_penalty`` 0).
    """
    processors = LogitsProcessorList()
    beams = config.num_beams
    if bounds.labels is not None:
        processors.append(KeepToLabels([trie for trie in bounds.labels for _ in range(beams)]))
    if bounds.limits is not None:
        limits = bounds.limits.repeat_interleave(beams)
        processors.append(EndInTime(limits, end_id=config.eos_token_id))
    if beams > 1:
        num_best = config.num_return_sequences or 1
        processors.append(StopAtBest(beams, end_id=config.eos_token_id, num_best=num_best))
    return processors


def _end_only(scores: Tensor, rows: Tensor, end_id: int) -> Tensor:
    """Leave the rows (R,) nothing but the end of turn, at its own probability."""
    others = torch.arange(scores.shape[1], device=scores.device) != end_id
    return scores.masked_fill(rows[:, None] & others, -torch.inf)


class EndInTime(LogitsProcessor):
    """Ends each answer at its own limit.

    Args:
        limits: (R,), tokens of each beam's answer, end of turn included.
        end_id: the end of turn.
    """

    def __init__(self, limits: Tensor, *, end_id: int) -> None:
        self.limits = limits
        self.end_id = end_id

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (R, tokens) of the token behind ``input_ids`` (R, L)."""
        return _end_only(scores, input_ids.shape[1] + 1 >= self.limits, self.end_id)


class StopAtBest(LogitsProcessor):
    """Ends the search of a row once its N best ended answers beat all that still run.

    A sum of log probabilities only falls as an answer grows, so the N best answers are those that
    a longer search would find. transformers goes on until W answers have ended: for labels of two
    tokens, to the longest answer allowed.

    Args:
        num_beams: W.
        end_id: the end of turn.
        num_best: N.
    """

    def __init__(self, num_beams: int, *, end_id: int, num_best: int = 1) -> None:
        self.num_beams = num_beams
        self.end_id = end_id
        self.num_best = num_best
        self.totals: dict[tuple[int, ...], Tensor] = {}  # row and tokens -> totals of what follows
        self.best: Tensor | None = None  # (B, N), of the answers that have ended, descending

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (R, tokens) of the token behind ``input_ids`` (R, L), log probabilities."""
        running = self._running(input_ids, scores)
        by_row = running.view(-1, self.num_beams)
        if self.best is None:
            self.best = by_row.new_full((len(by_row), self.num_best), -torch.inf)
        done = self.best[:, -1] >= by_row.amax(1)
        scores = _end_only(scores, done.repeat_interleave(self.num_beams), self.end_id)
        totals = running[:, None] + scores
        self._remember(input_ids, totals)
        # What transformers takes for ended: ends of turn among the W best continuations of a row.
        values, places = totals.view(len(by_row), -1).topk(self.num_beams)
        ended = values.masked_fill(places % scores.shape[1] != self.end_id, -torch.inf)
        self.best = torch.cat([self.best, ended], 1).topk(self.num_best).values
        return scores

    def _running(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(R,), log probability of what each beam has written."""
        if not input_ids.shape[1]:  # transformers starts from one beam of each row
            first = torch.arange(len(input_ids), device=scores.device) % self.num_beams == 0
            return torch.zeros(len(input_ids), device=scores.device).masked_fill(~first, UNUSED)
        running, seen = [], set()
        for index, ids in enumerate(input_ids.tolist()):
            row = index // self.num_beams
            total = self.totals[row, *ids[:-1]][ids[-1]]
            # Where few tokens are possible, beams that are not in use repeat one that is.
            running.append(torch.full_like(total, UNUSED) if (row, *ids) in seen else total)
            seen.add((row, *ids))
        return torch.stack(running)

    def _remember(self, input_ids: Tensor, totals: Tensor) -> None:
        self.totals = {}
        for index, ids in enumerate(input_ids.tolist()):
            # At the start all beams of a row have written nothing: the first of them counts.
            self.totals.setdefault((index // self.num_beams, *ids), totals[index])
