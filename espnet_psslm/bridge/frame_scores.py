"""What reduction asks of each frame's logits, without a softmax of all frames.

A frame's posterior is ``exp(logits - log_norm)``. Which frames make a step depends on the best
unit and on blank's probability; only the frames that are kept need their largest probabilities.
So the logits are read once, a few rows at a time, and nothing of their size is written.

Legend: B batch, T frames, V units, N rows, K listed units.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from espnet_psslm.device import is_host

NUMBERS = 1 << 20  # held at once on a CPU, at least one row: they stay in its cache
NUMBERS_ACCELERATOR = 1 << 26


def rows_at_once(logits: Tensor) -> int:
    """How many rows of V are worked on together."""
    numbers = NUMBERS if is_host(logits.device) else NUMBERS_ACCELERATOR
    return max(1, numbers // logits.shape[-1])


def best_units(scores: Tensor) -> Tensor:
    """The best unit of each frame, the first of equal ones. (..., V) -> (...)."""
    if is_host(scores.device) and scores.dtype in (torch.float32, torch.float64):
        # On a CPU numpy's takes an eighth of the time of torch's.
        return torch.from_numpy(scores.detach().numpy().argmax(-1))
    return scores.argmax(-1)


def frame_scores(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Best unit and normaliser of each frame.

    Args:
        logits: (B, T, V), any floating dtype.

    Returns:
        best units (B, T) and ``logsumexp`` of the logits (B, T), float32 (float64 of float64).
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    rows = logits.flatten(0, 1)
    best = torch.empty(len(rows), dtype=torch.long, device=logits.device)
    log_norm = torch.empty(len(rows), dtype=wide, device=logits.device)
    height = min(rows_at_once(logits), len(rows))
    scratch = torch.empty(height, rows.shape[1], dtype=wide, device=logits.device)
    for part in blocks(len(rows), max(1, height)):
        units = best_units(rows[part])
        peak = rows[part].gather(1, units[:, None]).to(wide)
        shifted = torch.sub(rows[part], peak, out=scratch[: len(units)])
        best[part] = units
        log_norm[part] = shifted.exp_().sum(1).log_().add_(peak[:, 0])
    return best.view(logits.shape[:2]), log_norm.view(logits.shape[:2])


def blocks(total: int, size: int) -> Iterator[slice]:
    """``range(total)`` in slices of at most ``size``."""
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def top_units(rows: Tensor, num_listed: int) -> tuple[Tensor, Tensor]:
    """The K largest of each row, as ``topk`` finds them, in a fraction of its time.

    A row is folded into columns of ``depth`` numbers. What is not in the K columns with the
    largest maxima is no larger than any of these K maxima: ``topk`` has to search the numbers of K
    columns only.

    Args:
        rows: (N, V).
        num_listed: K <= V.

    Returns:
        values (N, K), largest first, and their places (N, K).
    """
    num_units = rows.shape[1]
    depth = int((num_units / num_listed) ** 0.5)  # as many columns as numbers in K of them
    if depth < 4:
        return rows.topk(num_listed, dim=1)
    width = num_units // depth
    folded = rows[:, : depth * width].unflatten(1, (depth, width))
    columns = folded.amax(1).topk(num_listed, dim=1, sorted=False).indices
    shifts = width * torch.arange(depth, device=rows.device)
    places = (columns[:, None] + shifts[:, None]).flatten(1)
    behind = torch.arange(depth * width, num_units, device=rows.device)  # what was not folded
    places = torch.cat([places, behind.expand(len(rows), -1)], 1)
    values, index = rows.gather(1, places).topk(num_listed, dim=1)
    return values, places.gather(1, index)
