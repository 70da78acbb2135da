"""CTC alignment against every alignment there is."""

import itertools

import pytest
import torch

from espnet_psslm.acoustic.align import align_units, time_words
from espnet_psslm.text.words import UnitWords

BLANK = 2


def runs(path):
    """Unit, first frame, end of every run that is not blank."""
    found, frame = [], 0
    for label, run in itertools.groupby(path):
        length = len(list(run))
        if label != BLANK:
            found.append((label, frame, frame + length))
        frame += length
    return found


@pytest.mark.parametrize("unit_ids", [[], [0], [0, 1], [1, 1], [3, 0, 3], [0, 0, 0]])
def test_equals_the_best_of_all_alignments(unit_ids: list[int]) -> None:
    torch.manual_seed(len(unit_ids))
    log_posterior = (2.0 * torch.randn(6, 4)).log_softmax(1)
    spans, log_prob = align_units(log_posterior, unit_ids, blank_id=BLANK)
    best = max(
        (path for path in itertools.product(range(4), repeat=6)
         if [unit for unit, _, _ in runs(path)] == unit_ids),
        key=lambda path: sum(float(log_posterior[t, unit]) for t, unit in enumerate(path)),
    )  # fmt: skip
    assert [(span.unit_id, span.first_frame, span.end_frame) for span in spans] == runs(best)
    expected = sum(float(log_posterior[t, unit]) for t, unit in enumerate(best))
    assert log_prob == pytest.approx(expected, abs=1e-4)
    for span in spans:
        within = log_posterior[span.first_frame : span.end_frame, span.unit_id]
        assert span.prob == pytest.approx(float(within.max().exp()), abs=1e-5)


def test_too_few_frames() -> None:
    with pytest.raises(ValueError, match="2 units need 3 frames, there are 2"):
        align_units(torch.zeros(2, 4).log_softmax(1), [1, 1], blank_id=BLANK)


def test_words_take_their_units_times_and_the_product_of_their_confidence() -> None:
    texts = [" turn", "ed", "", " on"]
    words = UnitWords(texts, decode=lambda ids: "".join(texts[unit] for unit in ids))
    labels = [2, 0, 0, 2, 1, 2, 3, 2]
    log_posterior = torch.full((8, 4), 0.1 / 3)
    log_posterior[torch.arange(8), labels] = torch.tensor([0.9, 0.8, 0.9, 0.9, 0.5, 0.9, 0.6, 0.9])
    spans, _ = align_units(log_posterior.log(), [0, 1, 3], blank_id=BLANK)
    first, second = time_words(spans, words, frame_shift_s=0.5)
    assert (first.text, first.start_s, first.end_s) == ("turned", 0.5, 2.5)
    assert (second.text, second.start_s, second.end_s) == ("on", 3.0, 3.5)
    assert first.confidence == pytest.approx(0.9 * 0.5) and second.confidence == pytest.approx(0.6)
