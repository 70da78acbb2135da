"""Pairs of text and Steps that the learned simulator is trained on, from one dump or several."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from espnet_psslm.data.manifest import Row, read_manifest
from espnet_psslm.progress import track
from espnet_psslm.steps.error_bins import ERROR_BINS, UNKNOWN_BIN, bin_of, error_rate
from espnet_psslm.steps.learned import MAX_POSITIONS
from espnet_psslm.steps.made import Dumps, of_units
from espnet_psslm.text.normalize import normalize_text
from espnet_psslm.text.units import Units

MAX_RATE = 2.0  # errors per unit, above which what is heard has nothing to do with the text


def gather_pairs(manifests: Sequence[str | Path], units: Units) -> list[Row]:
    """One row for each dumped utterance that can be learnt from.

    Args:
        manifests: of dumps of the same acoustic model, e.g. of speech made harder by several
            strengths.
        units: of that model.

    Returns:
        Rows with ``GT`` and ``steps``; their keys begin with the number of the manifest.

    Raises:
        ValueError: if a manifest or a dump cannot be read, a dump was made otherwise than the first
            one, or nothing is left.
    """
    rows: dict[str, Row] = {}
    for number, manifest in enumerate(manifests):
        for key, row in read_manifest(manifest).items():
            if "steps" in row and "GT" in row:
                # Several rows (tasks) share one utterance, hence one place in the dump.
                rows.setdefault(row["steps"], row | {"key": f"{number}-{key}"})
    pairs, left_out, bins = [], Counter[str](), Counter[int]()
    dumps = Dumps(of_units(units.tokens))
    for location, row in track(rows.items(), len(rows), "pairs", units="utterances"):
        text = units.encode_known(normalize_text(row["GT"]))
        heard = dumps.read_posteriors(location)[0][:, 0].tolist()
        spoken = [unit for unit in heard if unit != units.blank_id]
        rate = error_rate(text, spoken)
        if reason := _unusable(len(text), len(heard), rate):
            left_out[reason] += 1
            continue
        bins[bin_of(rate)] += 1
        pairs.append({name: row[name] for name in ("key", "task", "target", "GT", "steps")})
    if left_out:
        logging.warning("left out: %s", ", ".join(f"{n} {what}" for what, n in left_out.items()))
    if not pairs:
        raise ValueError(
            f"{', '.join(map(str, manifests))}: no row has a text (GT) and dumped Steps to learn "
            "from; stage 8 (dump_steps) makes them"
        )
    logging.info("%d pairs, of which %s", len(pairs), _described(bins, len(pairs)))
    return pairs


def _unusable(num_units: int, num_rows: int, rate: float) -> str:
    """Why nothing can be learnt from a pair; nothing said: something can."""
    if not num_units:
        return "without a unit in the text"
    if not num_rows:
        return "in which nothing is heard"
    if rate > MAX_RATE:
        return f"with more than {MAX_RATE:g} errors per unit"
    if max(num_units, num_rows) >= MAX_POSITIONS:
        return f"longer than {MAX_POSITIONS - 1} units or rows"
    return ""


def _described(bins: Counter[int], total: int) -> str:
    said = [
        f"{100 * bins[number] / total:.1f} % have {100 * low:g} to {100 * high:g} % of errors"
        for number, (low, high) in enumerate(ERROR_BINS, 1)
    ]
    return ", ".join([*said, f"{100 * bins[UNKNOWN_BIN] / total:.1f} % lie between"])
