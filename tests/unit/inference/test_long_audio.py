"""Recordings that are cut at silences, drawn frame by frame, and samples that are too long."""

import numpy as np
import pytest
import torch

from espnet_psslm.bridge.phone_sync import REDUCTIONS
from espnet_psslm.bridge.projector import StackedLinear
from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps
from espnet_psslm.bridge.steps_file import StepsWriter
from espnet_psslm.inference.answering import Answerer, Question
from espnet_psslm.inference.listening import Listener, Sample
from espnet_psslm.inference.long_audio import Recording, cut, longest_run, recordings_of, silence
from espnet_psslm.llm.search import Search
from tests.equivalence.test_bridge import NUM_UNITS, build
from tests.fake_acoustic import FRAME, LevelAcoustic

BLANK = 0
WINDOW = 4 + 2 + 3 + 5 + 6  # prefix 0, before, after, answer; six steps


def fits(most):
    return lambda steps: steps <= most


def waveform(units):
    return np.repeat(np.array(units, dtype=np.float32) / 100, FRAME)


def recording(units, *, reduction="merge_then_drop", kind=PosteriorSteps):
    acoustic = LevelAcoustic.load(num_units=NUM_UNITS)
    speech = torch.from_numpy(waveform(units))[None]
    options = {"blank_id": BLANK, "max_units": 2}
    heard = acoustic.hear(
        speech, torch.tensor([speech.shape[1]]), REDUCTIONS[reduction](**options), kind=kind
    )
    [found] = recordings_of(heard, frame_shift_s=acoustic.frame_shift_s)
    return found


def pieces(units, *, most=99, longest=10, **options):
    whole = recording(units, **options)
    spans = cut(whole, fits=fits(most), longest=longest)
    assert [first for first, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
    assert spans[-1][1] == len(units)
    parts = [whole.piece(*span) for span in spans]
    for part, span in zip(parts, spans, strict=True):
        alone = recording(units[slice(*span)], **options)
        for name, value in vars(alone.steps).items():
            if isinstance(value, torch.Tensor) and name not in ("unit_ids", "probs"):
                torch.testing.assert_close(getattr(part.steps, name), value)
        if options.get("kind") is not FeatureSteps:
            assert torch.equal(part.steps.best_units(), alone.steps.best_units())
    return [units[slice(*span)] for span in spans]


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
    def place(units):
        return silence(torch.tensor([0.97 if unit == BLANK else 0.01 for unit in units]))

    #             0  1  2  3  4  5  6  7  8  9
    assert place([0, 0, 0, 0, 0, 1, 0, 0, 0, 2]) == 7
    assert place([1, 1, 1, 1, 1, 0, 2, 0, 2, 2]) == 7
    assert place([1, 0, 0, 0, 1, 1, 2, 3, 2, 2]) == 9  # all alike: as much as may be


def test_without_silence_the_likeliest_blank():
    assert silence(torch.tensor([0.4, 0.1, 0.1, 0.2, 0.3, 0.1])) == 4


def test_what_fits_is_not_cut():
    assert pieces([1, 0, 2, 0, 3]) == [[1, 0, 2, 0, 3]]
    assert pieces([1] * 10) == [[1] * 10]


@pytest.mark.parametrize("kind", [PosteriorSteps, FeatureSteps])
def test_audio_is_cut_in_silences_only(kind):
    units = [1, 0, 2, 2, 0, 3, 0, 0, 0, 1, 0, 2, 0, 3, 1, 0, 0, 0, 2, 3, 0, 1]
    found = pieces(units, kind=kind)
    assert found == [units[:7], units[7:16], units[16:]]
    assert all(len(piece) <= 10 for piece in found)


def test_audio_is_cut_for_the_language_model():
    assert pieces([1, 0, 2, 0, 3, 0, 0, 1], most=2) == [[1, 0, 2], [0, 3, 0, 0, 1]]
    frames = [1, 0, 2, 0, 3, 0, 0, 1]  # every frame is a step
    for kind in (PosteriorSteps, FeatureSteps):
        found = pieces(frames, most=4, reduction="frame_sync", kind=kind)
        assert all(len(piece) <= 4 for piece in found)


def test_no_room_at_all():
    with pytest.raises(ValueError, match="no room for speech.*--max_new_tokens"):
        pieces([1, 2, 3, 1], most=0)


@pytest.mark.parametrize("kind", [PosteriorSteps, FeatureSteps])
def test_dumped_steps_are_cut_in_the_same_places(kind):
    """Where no step is, it was silent; where all frames are steps, where blank is likely."""
    units = [1, 0, 2, 2, 0, 3, 0, 0, 0, 1, 0, 2, 0, 3, 1, 0, 0, 0, 2, 3, 0, 1]
    whole = recording(units, kind=kind)
    dumped = Recording.dumped(whole.steps, blank_id=BLANK)
    assert torch.equal(dumped.blank >= 0.5, whole.blank >= 0.5)
    assert cut(dumped, fits=fits(5)) == cut(whole, fits=fits(5))
    frames = recording(units, kind=kind, reduction="frame_sync")
    blank = Recording.dumped(frames.steps, blank_id=BLANK).blank
    assert (blank >= 0.5).any() == (kind is PosteriorSteps)


@pytest.fixture
def listener(monkeypatch):
    """Hears a waveform or takes a recording, and gives the pieces that fit a window."""

    def made(model=None, *, window=WINDOW):
        model = model or build(acoustic=LevelAcoustic.load(num_units=NUM_UNITS))
        monkeypatch.setattr("espnet_psslm.model.window_of", lambda lm: window)
        search = Search(max_new_tokens=5)
        answerer = Answerer(
            model, None, None, search=search, batch_size=2, choices={}, fallback=None, drafts=None
        )
        found = Listener(model, batch_size=2, whole_tasks=["SLU_scenario"])

        def cut_in_pieces(heard, task="ASR"):
            sample = Sample("a", Question(task, 0, [20, 21], [22, 23, 24]), heard)
            found.check(sample)
            [sample] = found([sample])
            return found.pieces(sample, fits=answerer.room(sample.question))

        return cut_in_pieces

    return made


def simulated(count):
    ids, probs = torch.ones(1, count, 2, dtype=torch.long), torch.full((1, count, 2), 0.5)
    ids[..., 1] = 2
    return Recording(PosteriorSteps(ids, probs, torch.tensor([count]), NUM_UNITS))


def test_six_steps_fit_and_seven_do_not(listener):
    six = simulated(6)
    [piece] = listener()(six)
    assert piece is six.steps
    with pytest.raises(ValueError, match="7 steps from text .* no silences"):
        listener()(simulated(7))
    [piece] = listener(window=None)(simulated(999))


def test_the_projector_may_make_fewer_embeddings_of_steps(listener):
    model = build()
    model.projector = StackedLinear(NUM_UNITS, 32, k=3, hidden=8).double()
    cut_in_pieces = listener(model)
    assert len(cut_in_pieces(simulated(18))) == 1
    with pytest.raises(ValueError, match="19 steps"):
        cut_in_pieces(simulated(19))


def test_labels_are_not_joined(listener):
    heard = recording([1, 2, 0, 3, 4] * 4)
    assert len(listener()(heard)) == 3
    with pytest.raises(
        ValueError, match=r"0\.4 s of audio are too long .* SLU_scenario are labels"
    ):
        listener()(heard, "SLU_scenario")


def test_audio_is_heard_once_and_cut_for_the_acoustic_model(listener, monkeypatch):
    acoustic = LevelAcoustic.load(num_units=NUM_UNITS)
    cut_in_pieces = listener(build(acoustic=acoustic), window=512)
    units = [1, 2, 3, 1, 2, 3, 0, 0, 0, 4, 5, 6]
    encoded, encode = [], acoustic.encode
    monkeypatch.setattr(acoustic, "encode", lambda *a: encoded.append(a[0].shape) or encode(*a))
    [whole] = cut_in_pieces(waveform(units))
    assert whole.best_units()[0].tolist() == [1, 2, 3, 1, 2, 3, 4, 5, 6] and len(encoded) == 1
    encoded.clear()
    acoustic.max_duration_s = 0.2  # 10 frames
    first, second = cut_in_pieces(waveform(units))
    assert first.best_units()[0].tolist() == [1, 2, 3, 1, 2, 3]
    assert second.best_units()[0].tolist() == [4, 5, 6]
    assert encoded == [(1, 10 * FRAME)] * 2  # windows that share eight frames
    with pytest.raises(ValueError, match="0.2 s of audio .* are labels"):
        cut_in_pieces(waveform(units), "SLU_scenario")


def test_audio_without_ctc_is_refused(listener):
    acoustic = LevelAcoustic.load(num_units=NUM_UNITS)
    model = build(acoustic=acoustic)
    acoustic.token_list, acoustic.max_duration_s = (), 0.2
    with pytest.raises(ValueError, match=r"0\.2 s of audio, the models take 0 s .*without CTC"):
        listener(model)(waveform([1] * 11))


def test_a_batch_is_heard_as_its_waveforms_alone():
    model = build(acoustic=LevelAcoustic.load(num_units=NUM_UNITS))
    made = Listener(model, batch_size=2, whole_tasks=[])
    question = Question("ASR", 0, [], [])
    waves = [waveform([1, 0, 2]), waveform([0, 0]), waveform([3, 4, 5, 6]), waveform([2] * 40)]
    model.acoustic.module.max_duration_s = 0.4
    samples = [Sample(str(n), question, wave) for n, wave in enumerate(waves)]
    assert [[s.key for s in batch] for batch in made.batches(samples)] == [["3"], ["2", "0"], ["1"]]
    heard = [sample.heard for sample in made(samples)]
    assert [r.steps.best_units()[0].tolist() for r in heard] == [
        [1, 2],
        [],
        [3, 4, 5, 6],
        [2, 2, 2],
    ]
    assert [r.num_frames for r in heard] == [3, 2, 4, 40]


def test_steps_of_a_dump(tmp_path):
    """Through a file, as stage 8 leaves them."""
    from espnet_psslm.bridge.steps_file import read_sample

    whole = recording([1, 0, 0, 2, 0, 3])
    with StepsWriter(tmp_path / "steps.ark", {}) as writer:
        writer.write_batch(["utt"], whole.steps)
    arrays, spans = read_sample(writer.locations["utt"])
    steps = PosteriorSteps(
        *(arrays[name][None] for name in ("unit_ids", "probs")), torch.tensor([3]), NUM_UNITS,
        spans[None, :, 0], spans[None, :, 1],
    )  # fmt: skip
    assert cut(Recording.dumped(steps, blank_id=BLANK), fits=fits(2)) == [(0, 4), (4, 6)]
