"""What our pictures share: size, spectrogram, posterior, and the file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espnet_psslm.atomic import atomic_file

INCHES_PER_S = 2.5
MIN_WIDTH = 6.0  # inches
DOTS_PER_INCH = 120
PLAIN = {"parse_math": False}  # a dollar in a unit or an answer opens no formula


def time_figure(
    duration_s: float, *, height: float, ratios: Sequence[float]
) -> tuple[Figure, Sequence[Axes]]:
    """Panels one above the other with one axis of time.

    Args:
        duration_s: of the audio.
        height: inches.
        ratios: heights of the panels to each other.
    """
    width = max(MIN_WIDTH, INCHES_PER_S * duration_s)
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    panels = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    panels[-1].set(xlabel="s", xlim=(0.0, duration_s))
    return figure, panels


def draw_spectrogram(
    panel: Axes, features: np.ndarray, shift_s: float, *, title: str, pad: float | None = None
) -> None:
    """Draw log-mel features.

    Args:
        panel: where.
        features: (T, M).
        shift_s: seconds between two of them.
        title: above.
        pad: points between title and picture; None: as usual.
    """
    extent = (0.0, len(features) * shift_s, 0, features.shape[1])
    panel.imshow(features.T, origin="lower", aspect="auto", cmap="magma", extent=extent)
    panel.set_ylabel("mel channel")
    panel.set_title(title, loc="left", fontsize=9, pad=pad, **PLAIN)


def draw_posterior(
    panel: Axes,
    posterior: np.ndarray,
    shift_s: float,
    *,
    blank_id: int,
    unit_ids: Sequence[int],
    top: float,
) -> None:
    """Draw the blank as an area and some units as curves.

    Args:
        panel: where.
        posterior: (T, V), linear domain.
        shift_s: seconds between two frames.
        blank_id: the CTC blank.
        unit_ids: units to draw.
        top: end of the vertical axis.
    """
    centres = (np.arange(len(posterior)) + 0.5) * shift_s
    panel.fill_between(centres, posterior[:, blank_id], color="0.85", label="blank", lw=0)
    for unit_id in dict.fromkeys(unit_ids):
        if unit_id != blank_id:
            panel.plot(centres, posterior[:, unit_id], lw=1.2, marker=".", ms=3)
    panel.set(ylabel="posterior", ylim=(0.0, top))
    panel.legend(loc="center right", fontsize=7)


def save_png(figure: Figure, path: str | Path) -> None:
    """Write a figure; its folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as stream:
        figure.savefig(stream, format="png")
