"""What the joined model makes of its parts; the whole is compared in tests/equivalence."""

import torch
from espnet2.torch_utils.recursive_op import recursive_average

from espnet_psslm import model as module
from espnet_psslm.bridge.projector import StackedLinear
from tests.equivalence.test_bridge import (
    NUM_UNITS,
    SAMPLES,
    build,
    collate,
    generate,
    sample,
)


def test_answers_are_limited_by_the_steps_heard_not_by_their_embeddings(monkeypatch):
    """Five steps stacked in one embedding are five steps heard."""
    model = build()
    model.projector = StackedLinear(NUM_UNITS, 32, k=5, hidden=8).double()
    seen = []

    def spy(num_steps, *, max_len_ratio):
        seen.append(num_steps.tolist())
        return torch.full_like(num_steps, 9)

    monkeypatch.setattr(module, "answer_limits", spy)
    batch = collate(SAMPLES)
    answers = generate(model, batch, beam_size=1, max_new_tokens=3, max_len_ratio=1.0)
    assert seen == [[len(s.ids) for s in SAMPLES if len(s.ids)]]
    assert answers[2] == ((), 0.0)


def test_statistics_are_what_espnet_averages_over_processes():
    model = build()
    loss, stats, weight = model(utt_id=["a"] * len(SAMPLES), **collate(SAMPLES))
    averaged, total = recursive_average(stats, weight)
    assert total == weight
    assert averaged["loss"] == loss and 0.0 <= averaged["acc"] <= 1.0


def test_silence_has_an_empty_answer_and_the_language_model_is_not_asked(monkeypatch):
    """Unsure blanks survive reduction; where all steps are such, no unit was heard."""
    model = build()
    silence = sample(0, [], [0, 0, 0], [20, 21], [])
    pause = sample(0, [], [0, 5, 0], [20, 21], [])
    both = collate([silence, pause])
    unheard, heard = generate(model, both, beam_size=2, max_new_tokens=3)
    alone = collate([pause])
    assert unheard == ((), 0.0)
    assert heard[0] == generate(model, alone, beam_size=2, max_new_tokens=3)[0][0] != ()
    monkeypatch.setattr(model.prefixes, "generate", lambda *_: 1 / 0)
    assert generate(model, collate([silence, silence])) == [((), 0.0)] * 2


def test_what_is_longer_than_the_window_is_left_out_and_named_once(caplog):
    model = build()
    too_long = sample(1, [22] * 600, [4], [20, 21, 23], [33])
    text = sample(0, [], [5] * 600, [20, 21], [30])
    target = sample(0, [], [3], [20, 21], [30] * 600)
    short = [SAMPLES[0], SAMPLES[4]]
    assert model.window == 512

    def forward(samples, keys):
        return model(utt_id=list(keys), **collate(samples))

    expected, _, weight = forward(short, "ab")
    assert not caplog.text
    for _ in range(2):
        mixed = forward([short[0], too_long, text, short[1], target], "axybz")
        torch.testing.assert_close(mixed[0], expected, rtol=0, atol=1e-9)
        assert mixed[2] == weight
    assert [caplog.text.count(f"{key} (6") for key in "xyz"] == [1, 1, 1]
    assert "window of 512 positions" in caplog.text and "3 in all" in caplog.text
    loss, stats, weight = forward([too_long, text], "xy")
    loss.backward()
    assert loss == stats["acc"] == 0 and 0 < weight < 1e-3
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_a_sample_that_just_fits_is_kept(caplog):
    """The last target is only ever predicted: it needs no position."""
    model = build()
    around = sample(1, [], [4], [20], [33])
    used = len(model.prefixes.prefixes[1]) + 3
    for more, says in ((0, False), (1, True)):
        fill = sample(1, [22] * (512 - used + more), [4], [20], [33])
        model(utt_id=["a", "b"], **collate([around, fill]))
        assert ("left out" in caplog.text) == says
