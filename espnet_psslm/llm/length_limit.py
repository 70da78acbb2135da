"""Longest answer per row: a share of the number of steps heard, as ESPnet's ``maxlenratio``.

An answer that repeats itself would otherwise run to the limit of all tasks, and hold up its batch.

Legend: B rows, W beams.
"""

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

SHORTEST = 8  # tokens that every answer may have: labels are not the longer for what was said


def answer_limits(num_steps: Tensor, *, max_len_ratio: float) -> Tensor:
    """Tokens that each answer may have, end of turn included.

    Args:
        num_steps: (B,), steps heard.
        max_len_ratio: tokens per step.

    Returns:
        (B,).
    """
    return (num_steps * max_len_ratio).ceil().long().clamp(min=SHORTEST)


def end_in_time(limits: Tensor | None, config: GenerationConfig) -> LogitsProcessorList:
    """What makes ``generate`` keep to the limits (B,) of its rows, if any, for all their beams."""
    if limits is None:
        return LogitsProcessorList()
    beams = limits.repeat_interleave(config.num_beams)
    return LogitsProcessorList([EndInTime(beams, end_id=config.eos_token_id)])


class EndInTime(LogitsProcessor):
    """Leaves nothing but the end of turn, at its own probability, where a row's limit is reached.

    Args:
        limits: (B * W,), tokens of each beam's answer, end of turn included.
        end_id: the end of turn.
    """

    def __init__(self, limits: Tensor, *, end_id: int) -> None:
        self.limits = limits
        self.end_id = end_id

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B * W, tokens) of the token behind ``input_ids`` (B * W, written so far)."""
        last = input_ids.shape[1] + 1 >= self.limits
        others = torch.arange(scores.shape[1], device=scores.device) != self.end_id
        return scores.masked_fill(last[:, None] & others, -torch.inf)
