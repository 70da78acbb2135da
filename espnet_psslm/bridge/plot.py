"""Pictures of the bridge: what reduction kept of one utterance, and how simulation differs.

Legend: T frames, V units, M mel channels, U steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from espnet_psslm.atomic import atomic_file

INCHES_PER_S = 2.5
MIN_WIDTH = 6.0  # inches
DOTS_PER_INCH = 120
PLAIN = {"parse_math": False}  # a dollar in a unit or an answer opens no formula
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
    width = max(MIN_WIDTH, INCHES_PER_S * heard.duration_s)
    figure = Figure(figsize=(width, 7.5), dpi=DOTS_PER_INCH, layout="constrained")
    panels = figure.subplots(4, 1, sharex=True, height_ratios=(3, 2, 1, 0.6))
    panels[0].imshow(
        heard.features.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(0.0, len(heard.features) * heard.feature_shift_s, 0, heard.features.shape[1]),
    )
    panels[0].set_ylabel("mel channel")
    panels[0].set_title(heard.title, loc="left", fontsize=9, **PLAIN)
    _draw_posterior(panels[1], heard)
    _draw_steps(panels[2], heard)
    _draw_tokens(panels[3], heard)
    panels[3].set(xlabel="s", xlim=(0.0, heard.duration_s))
    return figure


def _draw_posterior(panel: object, heard: HeardUtterance) -> None:
    centres = (np.arange(len(heard.posterior)) + 0.5) * heard.frame_shift_s
    blank = heard.posterior[:, heard.blank_id]
    panel.fill_between(centres, blank, color="0.85", label="blank", lw=0)
    for unit_id in dict.fromkeys(heard.unit_ids):
        if unit_id != heard.blank_id:
            panel.plot(centres, heard.posterior[:, unit_id], lw=1.2, marker=".", ms=3)
    panel.set(ylabel="posterior", ylim=(0.0, 1.05))
    panel.legend(loc="center right", fontsize=7)


def _draw_steps(panel: object, heard: HeardUtterance) -> None:
    panel.axvspan(0.0, len(heard.posterior) * heard.frame_shift_s, color=DROPPED, lw=0)
    for step, ((start, end), unit_id) in enumerate(zip(heard.spans, heard.unit_ids, strict=True)):
        left, right = start * heard.frame_shift_s, end * heard.frame_shift_s
        panel.axvspan(left, right, color=KEPT[step % 2], lw=0)
        style = {"ha": "center", "va": "center", "fontsize": 7, "rotation": 60} | PLAIN
        panel.text((left + right) / 2, 0.5, heard.unit_texts[unit_id], **style)
    panel.set(ylabel="steps", ylim=(0.0, 1.0), yticks=[])


def _draw_tokens(panel: object, heard: HeardUtterance) -> None:
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


def save_png(figure: Figure, path: str | Path) -> None:
    """Write a figure; its folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as stream:
        figure.savefig(stream, format="png")
