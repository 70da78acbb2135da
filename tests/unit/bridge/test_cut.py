"""Recordings that are cut at silences, drawn frame by frame."""

import pytest
import torch
from torch import nn

from espnet_psslm.bridge.cut import cut_audio, cut_steps, longest_run, silence
from espnet_psslm.bridge.phone_sync import REDUCTIONS

FRAME = 320  # samples
BLANK = 0


def posterior(units):
    rows = torch.full((len(units), 4), 0.01)
    rows[torch.arange(len(units)), torch.tensor(units)] = 0.97
    return rows.log()


class FakeAcoustic(nn.Module):
    """Takes the first sample of every frame for its unit."""

    frame_shift_s = 0.02
    max_duration_s = 0.2  # 10 frames

    def __init__(self):
        super().__init__()
        self.heard = []

    def log_posterior(self, speech, lengths):
        assert speech.shape[1] <= 10 * FRAME
        self.heard.append(speech.shape[1])
        units = speech[:, ::FRAME].long()
        return posterior(units[0].tolist())[None], torch.tensor([units.shape[1]])


def fits(most):
    return lambda steps: steps <= most


def cut(units, *, most=99, reduction="merge_then_drop", rest=0):
    speech = torch.tensor(units, dtype=torch.float32).repeat_interleave(FRAME)
    speech = speech[: len(speech) - rest]
    acoustic = FakeAcoustic()
    pieces = cut_audio(speech, acoustic, REDUCTIONS[reduction](blank_id=BLANK), fits=fits(most))
    assert torch.equal(torch.cat(pieces), speech)
    assert len(acoustic.heard) == len(pieces)
    return [piece[::FRAME].long().tolist() for piece in pieces]


@pytest.mark.parametrize(
    ("flags", "run"),
    [
        ([], (0, 0)),
        ([False, False], (0, 0)),
        ([True, False], (0, 1)),
        ([True, False, True, True], (2, 4)),
        ([True, True, False, True, True, False], (3, 5)),
    ],
)
def test_longest_run(flags, run):
    assert longest_run(flags) == run


def test_the_middle_of_the_longest_silence_of_the_second_half():
    #       0  1  2  3  4  5  6  7  8  9
    assert silence(posterior([0, 0, 0, 0, 0, 1, 0, 0, 0, 2]), blank_id=BLANK) == 7
    assert silence(posterior([1, 1, 1, 1, 1, 0, 2, 0, 2, 2]), blank_id=BLANK) == 7
    assert silence(posterior([1, 0, 0, 0, 1, 1, 2, 3, 2, 2]), blank_id=BLANK) >= 5


def test_without_silence_the_likeliest_blank():
    rows = posterior([1, 2, 1, 2, 1, 2])
    rows[4, BLANK] = -1.0
    assert silence(rows, blank_id=BLANK) == 4


def test_what_fits_is_not_cut():
    assert cut([1, 0, 2, 0, 3]) == [[1, 0, 2, 0, 3]]
    assert cut([1] * 10) == [[1] * 10]


def test_audio_is_cut_in_silences_only():
    units = [1, 0, 2, 2, 0, 3, 0, 0, 0, 1, 0, 2, 0, 3, 1, 0, 0, 0, 2, 3, 0, 1]
    pieces = cut(units)
    assert pieces == [units[:7], units[7:16], units[16:]]
    assert all(len(piece) <= 10 for piece in pieces)


def test_last_frame_that_is_not_whole():
    units = [1, 0, 2, 2, 0, 3, 0, 0, 0, 1, 0, 2]
    assert cut(units, rest=100) == [units[:7], units[7:]]


def test_audio_is_cut_for_the_language_model():
    assert cut([1, 0, 2, 0, 3, 0, 0, 1], most=2) == [[1, 0, 2], [0, 3, 0, 0, 1]]
    frames = [1, 0, 2, 0, 3, 0, 0, 1]  # every frame is a step
    assert all(len(piece) <= 4 for piece in cut(frames, most=4, reduction="frame_sync"))


def test_no_room_at_all():
    with pytest.raises(ValueError, match="no room for speech.*--max_new_tokens"):
        cut([1, 2, 3, 1], most=0)


SPANS = torch.tensor([[0, 2], [2, 3], [9, 10], [11, 12], [12, 13], [15, 16], [16, 17]])


def test_steps_are_cut_where_most_frames_lie_between_them():
    assert cut_steps(SPANS, fits=fits(7)) == [slice(0, 7)]
    # Gaps before steps 1 to 6: 0 6 1 0 2 0.
    assert cut_steps(SPANS, fits=fits(4)) == [slice(0, 2), slice(2, 5), slice(5, 7)]
    assert cut_steps(SPANS, fits=fits(2)) == [
        slice(0, 2), slice(2, 3), slice(3, 5), slice(5, 7)
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no room for speech"):
        cut_steps(SPANS, fits=fits(1))
