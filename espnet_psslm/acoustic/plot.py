"""What the acoustic model heard and when: spectrogram with words over the posterior's spikes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from espnet_psslm.acoustic.align import TimedWord
from espnet_psslm.atomic import atomic_file

INCHES_PER_S = 2.5
MIN_WIDTH = 6.0  # inches
DOTS_PER_INCH = 120


def plot_posterior(
    path: str | Path,
    *,
    title: str,
    features: np.ndarray,
    feature_shift_s: float,
    posterior: np.ndarray,
    frame_shift_s: float,
    blank_id: int,
    words: Sequence[TimedWord],
    units: Sequence[TimedWord],
    unit_ids: Sequence[int],
) -> None:
    """Draw one utterance as a PNG.

    Args:
        path: the file.
        title: above the picture.
        features: (T', M), log-mel.
        feature_shift_s: of the features.
        posterior: (T, V), linear domain.
        frame_shift_s: of the posterior.
        blank_id: the CTC blank.
        words: drawn over the spectrogram.
        units: written over their spikes.
        unit_ids: the same units; a curve is drawn for each.
    """
    duration_s = max(len(features) * feature_shift_s, len(posterior) * frame_shift_s)
    width = max(MIN_WIDTH, INCHES_PER_S * duration_s)
    figure = Figure(figsize=(width, 6.0), dpi=DOTS_PER_INCH, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    above.imshow(
        features.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(0.0, len(features) * feature_shift_s, 0, features.shape[1]),
    )
    above.set_ylabel("mel channel")
    above.set_title(title, loc="left", fontsize=9, pad=18)
    for word in words:
        above.axvspan(word.start_s, word.end_s, color="white", alpha=0.25, lw=0)
        for edge in (word.start_s, word.end_s):
            above.axvline(edge, color="white", lw=0.8)
        middle = (word.start_s + word.end_s) / 2
        above.text(middle, features.shape[1] * 1.01, word.text, ha="center", fontsize=8)

    centres = (np.arange(len(posterior)) + 0.5) * frame_shift_s
    below.fill_between(centres, posterior[:, blank_id], color="0.85", label="blank", lw=0)
    for unit_id in dict.fromkeys(unit_ids):
        below.plot(centres, posterior[:, unit_id], lw=1.2, marker=".", ms=3)
    for unit in units:
        middle = (unit.start_s + unit.end_s) / 2
        below.text(middle, 1.04, unit.text, ha="center", va="bottom", fontsize=7, rotation=60)
    below.set(xlabel="s", ylabel="posterior", xlim=(0.0, duration_s), ylim=(0.0, 1.35))
    below.legend(loc="center right", fontsize=7)
    with atomic_file(path) as stream:
        figure.savefig(stream, format="png")
