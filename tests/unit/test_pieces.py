"""Samples that are too long for a model, in pieces."""

import numpy as np
import pytest
import torch

from espnet_psslm.bridge.projector import StackedLinear
from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.bridge.steps_file import StepsWriter, read_sample
from espnet_psslm.pieces import PieceCutter
from tests.equivalence.test_bridge import NUM_UNITS, FakeAcoustic, build

RATE = 16000
WINDOW = 4 + 2 + 3 + 5 + 6  # prefix 0, before, after, answer; six steps


class FrameAcoustic(FakeAcoustic):
    """A frame a tenth of a second, a unit per frame: the first sample of each."""

    max_duration_s = 1.0
    frame_shift_s = 0.1

    def encode(self, speech, speech_lengths):
        return super().encode(speech[:, ::1600], (speech_lengths + 1599) // 1600)


def cutter(model, *, window=WINDOW):
    made = PieceCutter(model, max_new_tokens=5, whole_tasks=["SLU_scenario"])
    assert made.window == 512
    made.window = window
    return made


def sample(**speech):
    ids = {"before_ids": np.zeros(2, int), "after_ids": np.zeros(3, int)}
    return {"prompt_index": np.array([0]), **ids, **speech}


def simulated(count):
    return sample(unit_ids=np.ones((count, 2), int), probs=np.full((count, 2), 0.5))


@pytest.fixture
def dumped(tmp_path):
    """Ten steps with a pause before each third of them; where they are, and their sample."""
    start = torch.tensor([0, 1, 2, 10, 11, 12, 20, 21, 22, 30])
    ids = torch.arange(10)[:, None] % NUM_UNITS
    steps = PosteriorSteps(
        torch.cat([ids, (ids + 1) % NUM_UNITS], 1)[None],
        torch.tensor([[[0.75, 0.125]]]).repeat(1, 10, 1),
        torch.tensor([10]),
        NUM_UNITS,
        start[None],
        start[None] + 1,
    )
    with StepsWriter(tmp_path / "steps.ark") as writer:
        writer.write_batch(["utt"], steps)
    place = writer.locations["utt"]
    return place, sample(**{k: v.numpy() for k, v in read_sample(place)[0].items()})


def test_six_steps_fit_and_seven_do_not():
    cut = cutter(build())
    row = {"key": "a", "task": "ASR"}
    six = simulated(6)
    (piece,) = cut(row, six)
    assert piece is six
    with pytest.raises(ValueError, match="7 steps from text .* no silences"):
        cut(row, simulated(7))
    assert len(cutter(build(), window=None)(row, simulated(999))) == 1


def test_the_projector_may_make_fewer_embeddings_of_steps():
    model = build()
    model.projector = StackedLinear(NUM_UNITS, 32, k=3, hidden=8).double()
    cut = cutter(model)
    assert len(cut({"key": "a", "task": "ASR"}, simulated(18))) == 1
    with pytest.raises(ValueError, match="19 steps"):
        cut({"key": "a", "task": "ASR"}, simulated(19))


def test_dumped_steps_are_cut_at_pauses(dumped):
    place, whole = dumped
    pieces = cutter(build())({"key": "a", "task": "ASR", "steps": place}, whole)
    assert [len(piece["unit_ids"]) for piece in pieces] == [6, 4]
    for name in ("unit_ids", "probs"):
        assert np.array_equal(np.concatenate([piece[name] for piece in pieces]), whole[name])
    assert all(piece["after_ids"] is whole["after_ids"] for piece in pieces)


def test_labels_are_not_joined(dumped):
    place, whole = dumped
    row = {"key": "a", "task": "SLU_scenario", "steps": place}
    with pytest.raises(ValueError, match="10 steps are too long .* SLU_scenario are labels"):
        cutter(build())(row, whole)


def speech(units):
    return sample(speech=np.repeat(np.array(units, np.float32), 1600))


def test_audio_is_cut_for_the_acoustic_model():
    model = build(acoustic=FrameAcoustic())
    cut = cutter(model, window=512)
    row = {"key": "a", "task": "ASR", "path": "a.wav"}
    assert len(cut(row, speech([1] * 10))) == 1
    units = [1, 2, 3, 1, 2, 3, 0, 0, 0, 4, 5, 6]
    pieces = cut(row, speech(units))
    assert [piece["speech"][::1600].astype(int).tolist() for piece in pieces] == [
        units[:7], units[7:]
    ]  # fmt: skip
    assert sum(len(piece["speech"]) for piece in pieces) == len(units) * 1600


def test_audio_is_cut_for_the_language_model():
    model = build(acoustic=FrameAcoustic())
    cut = cutter(model)
    row = {"key": "a", "task": "ASR", "path": "a.wav"}
    units = [1, 2, 3, 0, 0, 0, 4, 5, 6, 7]
    pieces = cut(row, speech(units))
    assert [len(piece["speech"]) // 1600 for piece in pieces] == [5, 5]
    few = speech([1, 0, 0, 0, 0, 2])
    assert len(cut(row, few)) == 1


def test_audio_without_ctc_is_refused():
    model = build(acoustic=FrameAcoustic())

    class NoCTC(torch.nn.Module):
        has_ctc = False
        max_duration_s = 1.0

    model.acoustic.module = NoCTC()
    with pytest.raises(ValueError, match=r"1.1 s of audio.*without CTC"):
        cutter(model, window=512)({"key": "a", "task": "ASR"}, speech([1] * 11))
