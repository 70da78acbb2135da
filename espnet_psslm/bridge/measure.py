"""Measure what reduction leaves of real speech, so that simulation can make the same.

Dumped Steps of speech with known text are aligned, unit by unit, with that text. The numbers are
the options of ``MeasuredSimulator``.

Legend: U steps, K listed units per step, V units.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

import jiwer
import numpy as np
from torch import Tensor

from espnet_psslm.steps.error_bins import UNKNOWN_BIN, error_bin

NUM_QUANTILES = 21
MAX_RIVALS = 8
# Rates of rare events are estimated from few utterances: one event is added to each count, so
# that a clean development set does not promise that a thing never happens.
PRIOR_EVENTS = 1


def measure(
    utterances: Iterable[tuple[list[int], Tensor, Tensor]], *, num_units: int, blank_id: int
) -> dict:
    """Statistics of real Steps.

    Args:
        utterances: per utterance the units of its text, and ``unit_ids (U, K)``, ``probs (U, K)``
            of its Steps, best unit first.
        num_units: V.
        blank_id: the CTC blank.

    Returns:
        Numbers of plain types, for YAML: rates per unit of text (``delete_rate``,
        ``insert_rate``, ``substitute_rate``, ``blank_rate``), quantiles of the best unit's
        probability (``peaks`` of right, ``wrong_peaks`` of wrong, ``blank_peaks`` of
        blank-labelled steps), the mean share of the remaining mass on blank and on the second
        unit (``blank_share``, ``rival_share``), ``rivals``: unit -> [[other, weight], ...], and
        ``error_bins``: error bin -> its share of the utterances that are in one.

    Raises:
        ValueError: if there is no step that agrees with its text.
    """
    counts: Counter[str] = Counter()
    peaks: dict[str, list[float]] = defaultdict(list)
    shares: dict[str, list[float]] = defaultdict(list)
    rivals: dict[int, Counter[int]] = defaultdict(Counter)
    bins: Counter[int] = Counter()
    for reference, unit_ids, probs in utterances:
        counts["units"] += len(reference)
        labels = unit_ids[:, 0].tolist() if len(unit_ids) else []
        spoken = [step for step, label in enumerate(labels) if label != blank_id]
        counts["blanks"] += len(labels) - len(spoken)
        peaks["blank"] += [float(probs[s, 0]) for s, u in enumerate(labels) if u == blank_id]
        heard = [labels[step] for step in spoken]
        bins[error_bin(reference, heard)] += 1
        for kind, unit, place in align(reference, heard):
            counts[kind] += 1
            if place is None:
                continue
            step = spoken[place]
            ids, values = unit_ids[step].tolist(), probs[step].tolist()
            peaks["right" if kind == "equal" else "wrong"].append(values[0])
            if kind == "equal":
                _share(shares, rivals[unit], ids, values, blank_id)
            elif kind == "substitute":
                rivals[unit][ids[0]] += 1.0
    if not peaks["right"]:
        raise ValueError("no step agrees with its text: are units and dump of one model?")
    units = counts["units"]
    del bins[UNKNOWN_BIN]
    return {
        "num_units": num_units,
        "num_aligned": units,
        "peaks": _quantiles(peaks["right"]),
        "wrong_peaks": _quantiles(peaks["wrong"] or [0.5]),
        "blank_peaks": _quantiles(peaks["blank"] or [0.7]),
        "blank_rate": counts["blanks"] / units,
        "blank_share": float(np.mean(shares["blank"] or [0.5])),
        "rival_share": float(np.mean(shares["rival"] or [0.25])),
        "delete_rate": (counts["delete"] + PRIOR_EVENTS) / units,
        "insert_rate": (counts["insert"] + PRIOR_EVENTS) / units,
        "substitute_rate": (counts["substitute"] + PRIOR_EVENTS) / units,
        "rivals": {
            unit: [[other, round(float(w), 4)] for other, w in seen.most_common(MAX_RIVALS)]
            for unit, seen in sorted(rivals.items())
            if seen
        },
        "error_bins": {
            number: round(count / bins.total(), 4) for number, count in sorted(bins.items())
        },
    }


def align(reference: list[int], heard: list[int]) -> Iterable[tuple[str, int, int | None]]:
    """(kind, unit of the text or of the step, place in ``heard`` or None) along the edit path."""
    if not reference or not heard:
        yield from (("delete", unit, None) for unit in reference)
        yield from (("insert", unit, place) for place, unit in enumerate(heard))
        return
    words = [" ".join(map(str, sequence)) for sequence in (reference, heard)]
    for chunk in jiwer.process_words(*words).alignments[0]:
        if chunk.type == "insert":
            for place in range(chunk.hyp_start_idx, chunk.hyp_end_idx):
                yield "insert", heard[place], place
            continue
        for offset in range(chunk.ref_end_idx - chunk.ref_start_idx):
            place = None if chunk.type == "delete" else chunk.hyp_start_idx + offset
            yield chunk.type, reference[chunk.ref_start_idx + offset], place


def _share(
    shares: dict[str, list[float]],
    rivals: Counter,
    ids: list[int],
    values: list[float],
    blank_id: int,
) -> None:
    """Where the mass beside the peak lies; sure steps say nothing about it."""
    left = 1.0 - values[0]
    if left < 1e-3:
        return
    blank = values[ids.index(blank_id)] if blank_id in ids else 0.0
    rival = next((i for i in range(1, len(ids)) if ids[i] != blank_id), None)
    shares["blank"].append(min(blank / left, 1.0))
    shares["rival"].append(0.0 if rival is None else min(values[rival] / left, 1.0))
    if rival is not None:
        rivals[ids[rival]] += values[rival]


def _quantiles(values: list[float]) -> list[float]:
    return [round(float(q), 5) for q in np.quantile(values, np.linspace(0, 1, NUM_QUANTILES))]
