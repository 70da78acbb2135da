"""What the pictures show, read from the figures before they are drawn."""

import matplotlib.image
import numpy as np
import pytest

from espnet_psslm.acoustic.align import UnitSpan, time_units
from espnet_psslm.acoustic.plot import plot_posterior
from espnet_psslm.bridge.plot import HeardUtterance, distance_figure, steps_figure
from espnet_psslm.common.plots import save_png

HEARD = HeardUtterance(
    title="utt: costs $5 or $6",
    features=np.random.default_rng(0).normal(size=(12, 80)),
    feature_shift_s=0.01,
    posterior=np.eye(4)[[0, 1, 1, 0, 2, 0]],
    frame_shift_s=0.02,
    blank_id=0,
    spans=[(1, 3), (4, 5)],
    unit_ids=[1, 2],
    unit_texts=["<blank>", "▁turn", "$x$", "off"],
    tokens=["costs", " $5", "$"],
)


def texts(panel):
    return [text.get_text() for text in panel.texts]


def test_all_parts_of_an_utterance(tmp_path):
    figure = steps_figure(HEARD)
    spectrogram, posterior, steps, tokens = figure.axes
    assert spectrogram.get_title(loc="left") == HEARD.title
    assert spectrogram.images[0].get_array().shape == (80, 12)
    assert spectrogram.get_xlim() == (0.0, pytest.approx(0.12))
    curves = [line.get_ydata().tolist() for line in posterior.lines]
    assert curves == [HEARD.posterior[:, 1].tolist(), HEARD.posterior[:, 2].tolist()]
    assert texts(steps) == ["▁turn", "$x$"]
    edges = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in steps.patches]
    assert np.allclose(edges, [(0, 0.12), (0.02, 0.06), (0.08, 0.1)])
    assert texts(tokens) == ["costs", " $5", "$"]
    places = [text.get_position()[0] for text in tokens.texts]
    assert places == pytest.approx([0.02, 0.06, 0.1])
    save_png(figure, tmp_path / "new/utt.png")
    assert matplotlib.image.imread(tmp_path / "new/utt.png").std() > 0.05


def test_an_utterance_without_steps_or_answer(tmp_path):
    silent = {"spans": [], "unit_ids": [], "tokens": [], "posterior": np.eye(4)[[0] * 6]}
    figure = steps_figure(HeardUtterance(**vars(HEARD) | silent))
    assert [len(panel.texts) for panel in figure.axes] == [0, 0, 0, 0]
    save_png(figure, tmp_path / "utt.png")
    assert (tmp_path / "utt.png").stat().st_size > 1000


def test_a_dollar_in_a_unit_opens_no_formula(tmp_path):
    (unit,) = time_units([UnitSpan(1, 1, 3, 0.9)], ["<blank>", "$_$"], frame_shift_s=0.02)
    plot_posterior(
        tmp_path / "utt.png",
        **{"title": "costs $5_$", "features": HEARD.features, "feature_shift_s": 0.01},
        **{"posterior": HEARD.posterior, "frame_shift_s": 0.02, "blank_id": 0},
        **{"words": [unit], "units": [unit], "unit_ids": [1]},
    )
    assert matplotlib.image.imread(tmp_path / "utt.png").std() > 0.05


def test_a_box_for_each_simulator(tmp_path):
    values = {"one-hot": [0.1, 0.2, 0.3], "tasu": [float("nan"), 0.5, 0.7]}
    figure = distance_figure({"bits": values, "edits": values})
    assert [panel.get_title() for panel in figure.axes] == ["bits", "edits"]
    for panel in figure.axes:
        assert [label.get_text() for label in panel.get_xticklabels()] == ["one-hot", "tasu"]
        medians = {round(float(line.get_ydata()[0]), 6) for line in panel.lines} & {0.2, 0.6}
        assert medians == {0.2, 0.6}
    save_png(figure, tmp_path / "d.png")
    assert (tmp_path / "d.png").stat().st_size > 1000
