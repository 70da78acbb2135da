"""What reduction asks of each frame's logits, without a softmax of all frames.

A frame's posterior is ``exp(logits - log_norm)``. Which frames make a step depends on the best
unit and on blank's probability; only the frames that are kept need their largest probabilities.
So the logits are read once, a few rows at a time, and nothing of their size is written.

Legend: B batch, T frames, V units, N rows, K listed units.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from espnet_psslm.device import is_host

NUMBERS = 1 << 18  # held at once on a CPU, at least one row: they stay in its cache
NUMBERS_ACCELERATOR = 1 << 25
NARROW = 1024  # units of a narrow posterior
NUMBERS_NARROW = 1 << 21  # of narrow posteriors held at once


def utterances_at_once(logits: Tensor) -> int:
    """How many utterances' posteriors may be made whole: 0 where a row at a time is better.

    A narrow posterior fits the cache whole; reading it twice costs less than looking up frames.
    """
    if not is_host(logits.device) or logits.shape[2] > NARROW:
        return 0
    return NUMBERS_NARROW // max(1, logits[0].numel())


def rows_at_once(logits: Tensor) -> int:
    """How many rows of V are worked on together."""
    numbers = NUMBERS if is_host(logits.device) else NUMBERS_ACCELERATOR
    return max(1, numbers // logits.shape[-1])


def best_units(scores: Tensor) -> Tensor:
    """The best unit of each frame, the first of equal ones. (..., V) -> (...)."""
    if _is_for_numpy(scores):  # an eighth of the time of torch's
        return torch.from_numpy(scores.detach().numpy().argmax(-1))
    return scores.argmax(-1)


def exponentials(values: Tensor) -> Tensor:
    """``exp``, in place."""
    if _is_for_numpy(values):  # less than half the time of torch's
        np.exp(values.numpy(), out=values.numpy())
        return values
    return values.exp_()


def _is_for_numpy(values: Tensor) -> bool:
    """Whether numpy can read these values in place."""
    return is_host(values.device) and values.dtype in (torch.float32, torch.float64)


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
        log_posterior = scratch[: len(units)]
        torch.log_softmax(rows[part], 1, dtype=wide, out=log_posterior)
        best[part] = units
        at_best = log_posterior.gather(1, units[:, None])
        log_norm[part] = (rows[part].gather(1, units[:, None]) - at_best)[:, 0]
    return best.view(logits.shape[:2]), log_norm.view(logits.shape[:2])


def blocks(total: int, size: int) -> Iterator[slice]:
    """``range(total)`` in slices of at most ``size``."""
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def take_rows(rows: Tensor, index: Tensor, scratch: Tensor) -> Tensor:
    """Some rows, written into ``scratch`` where they fit: fresh memory costs more than the copy."""
    if len(index) > len(scratch):
        return rows.index_select(0, index)
    return torch.index_select(rows, 0, index, out=scratch[: len(index)])


def top_units(rows: Tensor, num_listed: int) -> tuple[Tensor, Tensor]:
    """The K largest of each row, as ``topk`` finds them, in a fraction of its time.

    A row is folded into columns of ``depth`` numbers. What is not in the K columns with the
    largest maxima is no larger than any of these K maxima: few numbers are left to be sorted.

    Args:
        rows: (N, V).
        num_listed: K <= V.

    Returns:
        values (N, K), largest first, and their places (N, K).
    """
    if _is_for_numpy(rows):
        places = torch.from_numpy(_top_places(rows.detach(), num_listed))
        return rows.gather(1, places), places
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


def _top_places(rows: Tensor, num_listed: int) -> np.ndarray:
    """Places of ``top_units`` on a CPU, (N, K); of equal numbers the first ones, in their order."""
    num_rows, num_units = rows.shape
    depth = int((num_units / num_listed) ** 0.5)
    width = num_units // depth
    maxima = rows[:, : depth * width].unflatten(1, (depth, width)).amax(1).numpy()
    # The K-th largest number of a row is no smaller than the K-th largest of the maxima.
    maxima.partition(width - num_listed, axis=1)
    values = rows.numpy()
    smaller = values < maxima[:, width - num_listed, None]
    flat = np.flatnonzero(np.logical_not(smaller, out=smaller))  # NaN counts as reaching it
    number = np.arange(num_rows)
    ends = np.searchsorted(flat, num_units * np.arange(num_rows + 1))
    counts = np.diff(ends)
    # As a table, one row each, smallest numbers behind the last.
    size = counts.max(initial=num_listed)
    slot = np.arange(len(flat)) + np.repeat(size * number - ends[:-1], counts)
    reached = values.reshape(-1)[flat]
    if reached.dtype == np.float32 and values.size < 1 << 32:
        keys = np.full(num_rows * size, np.iinfo(np.int64).max)
        keys[slot] = _sortable(reached) << 32 | flat
        keys = keys.reshape(num_rows, size)
        keys.sort(axis=1)
        return (keys[:, :num_listed] & 0xFFFFFFFF) - num_units * number[:, None]
    keys = np.full(num_rows * size, np.inf, values.dtype)
    keys[slot] = np.where(np.isnan(reached), -np.inf, -reached)  # as the largest, as in topk
    places = np.zeros(num_rows * size, np.int64)
    places[slot] = flat % num_units
    best = keys.reshape(num_rows, size).argsort(axis=1, kind="stable")[:, :num_listed]
    return places[best + size * number[:, None]]


def _sortable(values: np.ndarray) -> np.ndarray:
    """int64 in [-2^31, 2^31), the smaller the larger the float32; NaN as the largest of all.

    Sorting whole numbers that end in the place takes a fifth of the time of a stable sort.
    """
    bits = (values + np.float32(0)).view(np.int32)  # -0 is 0
    bits[np.isnan(values)] = np.iinfo(np.int32).max
    return (~np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)).astype(np.int64)
