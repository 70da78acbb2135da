"""What the acoustic model heard and when: spectrogram with words over the posterior's spikes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from espnet_psslm.acoustic.align import TimedWord
from espnet_psslm.common.plots import (
    PLAIN,
    draw_posterior,
    draw_spectrogram,
    save_png,
    time_figure,
)


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
    figure, (above, below) = time_figure(duration_s, height=6.0, ratios=(3, 2))
    draw_spectrogram(above, features, feature_shift_s, title=title, pad=18)
    for word in words:
        above.axvspan(word.start_s, word.end_s, color="white", alpha=0.25, lw=0)
        for edge in (word.start_s, word.end_s):
            above.axvline(edge, color="white", lw=0.8)
        middle = (word.start_s + word.end_s) / 2
        style = {"ha": "center", "fontsize": 8} | PLAIN
        above.text(middle, features.shape[1] * 1.01, word.text, **style)
    shown = {"blank_id": blank_id, "unit_ids": unit_ids, "top": 1.35}
    draw_posterior(below, posterior, frame_shift_s, **shown)
    for unit in units:
        middle = (unit.start_s + unit.end_s) / 2
        style = {"ha": "center", "va": "bottom", "fontsize": 7, "rotation": 60} | PLAIN
        below.text(middle, 1.04, unit.text, **style)
    save_png(figure, path)
