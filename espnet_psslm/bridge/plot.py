"""Pictures of the bridge: what reduction kept of one utterance, and how simulation differs.

Legend: T frames, V units, M mel channels, U steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espnet_psslm.common.plots import (
    DOTS_PER_INCH,
    PLAIN,
    draw_posterior,
    draw_spectrogram,
    time_figure,
)

DROPPED, KEPT = "0.9", ("#9ecae1", "#c6dbef")  # neighbours differ


@dataclass(frozen=True)
class HeardUtterance:
    """One utterance from spectrogram to answer."""

    title: str
    features: np.ndarray  # (T', M), log-mel
    feature_shift_s: float
    posterior: np.ndarray  # (T, V), linear domain
    frame_shift_s: float
    blank_id: int
    spans: Sequence[tuple[int, int]]  # (U,), first frame of each step and one past its last
    unit_ids: Sequence[int]  # (U,), best unit of each step
    unit_texts: Sequence[str]  # (V,)
    tokens: Sequence[str]  # what the language model wrote

    @property
    def duration_s(self) -> float:
        """Of the longer of spectrogram and posterior."""
        return max(
            len(self.features) * self.feature_shift_s, len(self.posterior) * self.frame_shift_s
        )


def steps_figure(heard: HeardUtterance) -> Figure:
    """Spectrogram, posterior, steps with their units, and tokens, one above the other.

    Tokens have no times: they are spread evenly in the order in which they were written.

    Args:
        heard: the utterance.

    Returns:
        Figure of four panels with one axis of time.
    """
    figure, panels = time_figure(heard.duration_s, height=7.5, ratios=(3, 2, 1, 0.6))
    draw_spectrogram(panels[0], heard.features, heard.feature_shift_s, title=heard.title)
    shown = {"blank_id": heard.blank_id, "unit_ids": heard.unit_ids, "top": 1.05}
    draw_posterior(panels[1], heard.posterior, heard.frame_shift_s, **shown)
    _draw_steps(panels[2], heard)
    _draw_tokens(panels[3], heard)
    return figure


def _draw_steps(panel: Axes, heard: HeardUtterance) -> None:
    panel.axvspan(0.0, len(heard.posterior) * heard.frame_shift_s, color=DROPPED, lw=0)
    for step, ((start, end), unit_id) in enumerate(zip(heard.spans, heard.unit_ids, strict=True)):
        left, right = start * heard.frame_shift_s, end * heard.frame_shift_s
        panel.axvspan(left, right, color=KEPT[step % 2], lw=0)
        style = {"ha": "center", "va": "center", "fontsize": 7, "rotation": 60} | PLAIN
        panel.text((left + right) / 2, 0.5, heard.unit_texts[unit_id], **style)
    panel.set(ylabel="steps", ylim=(0.0, 1.0), yticks=[])


def _draw_tokens(panel: Axes, heard: HeardUtterance) -> None:
    share = heard.duration_s / max(1, len(heard.tokens))
    for place, token in enumerate(heard.tokens):
        style = {"ha": "center", "va": "center", "fontsize": 8} | PLAIN
        panel.text((place + 0.5) * share, 0.5, token, **style)
    panel.set(ylabel="tokens", ylim=(0.0, 1.0), yticks=[])


def distance_figure(measures: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """One panel a measure, one box a simulator; whiskers reach the 5th and 95th percentile.

    Args:
        measures: measure -> simulator -> value of each utterance; NaN is left out.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(3.0 * len(measures), 4.0), dpi=DOTS_PER_INCH, layout="constrained")
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    for panel, (name, by_simulator) in zip(panels, measures.items(), strict=True):
        values = [np.asarray(column, dtype=float) for column in by_simulator.values()]
        panel.boxplot(
            [column[~np.isnan(column)] for column in values],
            tick_labels=list(by_simulator),
            whis=(5, 95),
            showfliers=False,
        )
        panel.set_title(name, fontsize=9)
        panel.tick_params(labelsize=8)
    return figure
