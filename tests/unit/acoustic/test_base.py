"""What all acoustic models do alike, with one that hears levels."""

import argparse

import pytest
import torch

from espnet_psslm.acoustic import models
from espnet_psslm.acoustic.choice import acoustic_choice
from espnet_psslm.bridge.phone_sync import FixedRate, FrameSynchronous, MergeThenDrop
from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps
from tests.fake_acoustic import FRAME, LevelAcoustic

REDUCTION = MergeThenDrop(blank_id=0, max_units=1)


def speech(*recordings):
    """Waveforms of units, padded, and their lengths."""
    waves = [torch.tensor(units).repeat_interleave(FRAME) / 100 for units in recordings]
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    return padded, torch.tensor([len(wave) for wave in waves])


def best(steps):
    return [row[:n].tolist() for row, n in zip(steps.best_units(), steps.lengths, strict=True)]


@pytest.fixture
def acoustic():
    return LevelAcoustic.load(num_units=9)


def test_posteriors_and_encoder_outputs_of_the_same_runs(acoustic):
    batch = speech([1, 1, 0, 2], [3])
    heard = acoustic.hear(*batch, REDUCTION, kind=PosteriorSteps)
    assert best(heard.steps) == [[1, 2], [3]] and heard.lengths.tolist() == [4, 1]
    assert (heard.blank[0] > 0.5).tolist() == [False, False, True, False]
    features = acoustic.to_steps(*batch, REDUCTION, kind=FeatureSteps)
    assert features.values[0, :, 0].tolist() == [1, 2] and features.lengths.tolist() == [2, 1]
    assert torch.equal(features.frame_end, heard.steps.frame_end)


def test_features_of_silence_are_no_steps(acoustic):
    """Unsure blanks survive reduction; where no frame has another best unit, nothing was heard."""
    unsure = MergeThenDrop(blank_id=0, blank_threshold=1.0)
    batch = speech([0, 0], [0, 3, 0])
    assert acoustic.to_steps(*batch, unsure, kind=FeatureSteps).lengths.tolist() == [0, 3]
    frames = FrameSynchronous(blank_id=0)  # made without a posterior
    assert acoustic.to_steps(*batch, frames, kind=FeatureSteps).lengths.tolist() == [2, 3]


def test_what_is_shorter_than_a_feature_frame_is_empty(acoustic):
    features, lengths = acoustic.encode(torch.ones(3, 160), torch.tensor([159, 0, 160]))
    assert lengths.tolist() == [0, 0, 1]
    assert acoustic.encode(torch.zeros(1, 0), torch.tensor([0]))[1].tolist() == [0]


@pytest.mark.parametrize("kind", [PosteriorSteps, FeatureSteps])
def test_long_audio_is_heard_as_if_it_were_short(acoustic, kind):
    """In a batch with short audio; frame spans are those of the whole."""
    units = [(3 * n) % 7 + 1 if n % 4 else 0 for n in range(60)]
    batch = speech([1, 0, 2], units, units[:25])
    whole = acoustic.hear(*batch, REDUCTION, kind=kind)
    expected = acoustic.log_posterior(*batch)
    acoustic.max_duration_s = 0.4  # 20 frames
    windows = acoustic.hear(*batch, REDUCTION, kind=kind)
    assert torch.equal(windows.lengths, whole.lengths)
    for row, frames in enumerate(whole.lengths.tolist()):
        torch.testing.assert_close(windows.blank[row, :frames], whole.blank[row, :frames])
    mask = whole.steps.mask
    assert torch.equal(windows.steps.mask, mask)
    for name, value in vars(whole.steps).items():
        if isinstance(value, torch.Tensor) and name != "lengths":
            torch.testing.assert_close(getattr(windows.steps, name)[mask], value[mask])
    found = acoustic.log_posterior(*batch)
    assert torch.equal(found[1], expected[1])
    for row, frames in enumerate(expected[1].tolist()):
        torch.testing.assert_close(found[0][row, :frames], expected[0][row, :frames])
    with pytest.raises(ValueError, match=r"of 1\.2 s is longer than the 0 s .*; cut it, or drop"):
        acoustic.encode(*batch)


def test_without_ctc_there_are_encoder_outputs_only(acoustic):
    acoustic.token_list = ()
    steps = acoustic.to_steps(*speech([1, 3, 5]), FixedRate(blank_id=0, rate=2), kind=FeatureSteps)
    assert not acoustic.has_ctc and steps.values[0, :, 0].tolist() == [2, 5]
    acoustic.max_duration_s = 0.04
    with pytest.raises(ValueError, match="longer than"):
        acoustic.hear(*speech([1, 3, 5]), REDUCTION, kind=FeatureSteps)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ("whisper_ctc", {})),
        ({"acoustic": "sensevoice", "acoustic_conf": {"name": "a"}}, ("sensevoice", {"name": "a"})),
        # Made before there was ``acoustic``, which then has its default.
        (
            {"acoustic": "whisper_ctc", "acoustic_conf": {"sensevoice": "a", "hub": "b"}},
            ("sensevoice", {"name": "a", "hub": "b"}),
        ),
        ({"acoustic_conf": {"whisper": "a"}}, ("whisper", {"name": "a"})),
        (
            {"acoustic_conf": {"whisper": None, "num_mels": 80, "model_file": "a"}},
            ("whisper_ctc", {"model_file": "a"}),
        ),
    ],
)  # fmt: skip
def test_what_a_configuration_names(config, expected):
    assert acoustic_choice(config) == expected


def test_a_model_is_added_by_a_line(monkeypatch):
    """A class in the table is built from a configuration; the options are those of its ``load``."""
    from espnet_psslm.tasks.psslm_parts import build_acoustic, check_keys
    from espnet_psslm.training.builders import with_defaults

    def args(**conf):
        config = {"acoustic": "levels", "acoustic_conf": conf, "source": "audio"}
        return argparse.Namespace(**vars(with_defaults(config)))

    monkeypatch.setitem(models.ACOUSTIC_MODELS, "levels", LevelAcoustic)
    built = build_acoustic(args(num_units=4), None)
    assert isinstance(built, LevelAcoustic) and built.num_units == 4
    with pytest.raises(ValueError, match=r"acoustic_conf: \['size'\] is unknown; use num_units"):
        check_keys(args(size=4))
    with pytest.raises(ValueError, match="acoustic: levels with .* has 4 units that are not the 1"):
        build_acoustic(args(num_units=4), argparse.Namespace(tokens=["a"], num_units=1))
