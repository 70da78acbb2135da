"""What is checked before features are computed."""

import pytest
import torch

from espnet_psslm.acoustic.waveform import check_duration, give_a_frame


def test_limit_itself_is_taken_and_more_is_refused():
    options = {"max_duration_s": 2.0, "fix": "cut it"}
    check_duration(torch.tensor([100, 32000]), **options)
    with pytest.raises(ValueError, match=r"of 2\.1 s is longer than the 2 s .*; cut it"):
        check_duration(torch.tensor([100, 33600]), **options)


def test_what_is_shorter_than_a_frame_gets_one_and_is_marked():
    speech = torch.ones(2, 159)
    longer, lengths, is_empty = give_a_frame(speech, torch.tensor([159, 0]))
    assert longer.shape == (2, 160) and longer[:, 159].tolist() == [0, 0]
    assert lengths.tolist() == [160, 160] and is_empty.tolist() == [True, True]
    speech = torch.ones(1, 161)
    same, lengths, is_empty = give_a_frame(speech, torch.tensor([160]))
    assert same.shape == (1, 161) and lengths.tolist() == [160] and is_empty.tolist() == [False]
