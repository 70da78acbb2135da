import numpy as np
import pytest
import soundfile
import torch

from espnet_psslm.bridge.simulate import TASUSimulator
from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.bridge.steps_file import StepsWriter
from espnet_psslm.data.preprocessor import PSSLMPreprocessor
from tests.helpers import SENTENCES, build_tokenizer, text_rows


@pytest.fixture
def build(parts):
    def build(*, train=True, noisy=True, **options):
        units = parts["units"]
        simulator = TASUSimulator(units.num_units, blank_id=0, delete_prob=0.2, insert_prob=0.2)
        options = {"simulator": simulator if noisy else None, "seed": 7} | options
        return PSSLMPreprocessor(train, **parts, **options)

    return build


def draw(preprocessor, rows=None, epoch=None):
    if epoch is not None:
        preprocessor.epoch = epoch
    rows = text_rows() if rows is None else rows
    return {row["key"]: preprocessor(row["key"], {"sample": row}) for row in rows}


def same(one, other):
    return one.keys() == other.keys() and all(
        one[key].keys() == other[key].keys()
        and all(np.array_equal(one[key][name], other[key][name]) for name in one[key])
        for key in one
    )


def test_draws_do_not_depend_on_order_or_process(build):
    forth = draw(build(), epoch=3)
    back = draw(build(), text_rows()[::-1], epoch=3)
    assert same(forth, back)


def test_what_is_written_ahead_is_what_would_be_written(build):
    """Also where two shards have used the same key."""

    class Ahead(TASUSimulator):
        writes_together = True

    rows = [*text_rows(), text_rows()[1] | {"key": text_rows()[0]["key"]}]
    plain = build()
    ahead = build(simulator=Ahead(plain.simulator.num_units, blank_id=0))
    expected = build(simulator=TASUSimulator(plain.simulator.num_units, blank_id=0))
    assert ahead.writes_ahead and not expected.writes_ahead
    ahead.write_ahead(rows)
    assert len(ahead.written) == len(rows)
    ahead.simulator = None  # nothing is drawn any more
    for row in rows:
        assert same(draw(ahead, [row]), draw(expected, [row]))


def test_another_epoch_or_seed_draws_anew(build):
    first = draw(build(), epoch=1)
    assert not same(first, draw(build(), epoch=2))
    assert not same(first, draw(build(seed=8), epoch=1))
    assert same(first, draw(build(), epoch=1))


def test_samples_of_one_text_differ(build):
    rows = [text_rows()[0] | {"key": key} for key in ("a", "b")]
    a, b = draw(build(), rows).values()
    assert not np.array_equal(a["probs"], b["probs"])


def test_prompts_vary_in_training_and_are_the_first_otherwise(build, parts):
    indices = {
        int(sample["prompt_index"][0])
        for epoch in range(5)
        for sample in draw(build(), epoch=epoch).values()
    }
    assert indices == set(parts["prompts"].indices("ASR")) == {0, 1}
    fixed = draw(build(train=False))
    assert {int(sample["prompt_index"][0]) for sample in fixed.values()} == {0}
    assert same(fixed, draw(build(train=False)))


def test_target_ends_the_turn(build, parts):
    sample = draw(build())["utt0-ASR"]
    *target, end = sample["target_ids"].tolist()
    assert end == parts["end_id"]
    assert parts["prompts"].tokenizer.decode(target) == SENTENCES[0]
    assert all(sample[name].dtype == np.int64 for name in sample if name != "probs")


def test_noise_free_text_is_the_units_of_the_normalised_transcript(build, parts):
    row = text_rows()[0] | {"GT": f"  {SENTENCES[0].upper()}! "}
    sample = draw(build(noisy=False), [row])[row["key"]]
    assert sample["unit_ids"][:, 0].tolist() == parts["units"].encode(SENTENCES[0])
    assert (sample["probs"] == 1.0).all()


def test_characters_outside_the_vocabulary_have_no_step(build, parts):
    row = text_rows()[0] | {"GT": f"{SENTENCES[0]} \u4f60"}
    sample = draw(build(noisy=False), [row])[row["key"]]
    assert parts["units"].unk_id not in sample["unit_ids"]
    assert len(sample["unit_ids"]) >= len(parts["units"].encode(SENTENCES[0]))


@pytest.fixture
def row_of_all(tmp_path):
    """A row with audio, dumped Steps and transcript."""
    soundfile.write(tmp_path / "a.wav", np.linspace(-0.5, 0.5, 1600), 16000, subtype="FLOAT")
    shape = (1, 2)
    steps = PosteriorSteps(
        torch.tensor([[[5, 1], [6, 2]]]), torch.tensor([[[0.75, 0.25], [0.5, 0.25]]]),
        torch.tensor([2]), 50, torch.zeros(shape).long(), torch.ones(shape).long(),
    )  # fmt: skip
    with StepsWriter(tmp_path / "steps.ark", {}) as writer:
        writer.write_batch(["a"], steps)
    return text_rows()[0] | {"path": str(tmp_path / "a.wav"), "steps": writer.locations["a"]}


def test_sources(build, row_of_all):
    def take(source, row=row_of_all):
        return draw(build(source=source), [row])[row["key"]]

    heard = take("audio")
    assert "unit_ids" not in heard
    np.testing.assert_allclose(heard["speech"], np.linspace(-0.5, 0.5, 1600), atol=1e-6)
    assert heard["speech"].dtype == np.float32
    dumped = take("steps")
    assert dumped["unit_ids"].tolist() == [[5, 1], [6, 2]]
    assert dumped["probs"].tolist() == [[0.75, 0.25], [0.5, 0.25]]
    assert "speech" not in take("text")
    # auto: dumped Steps before audio before text
    assert np.array_equal(take("auto")["unit_ids"], dumped["unit_ids"])
    without_steps = {name: value for name, value in row_of_all.items() if name != "steps"}
    assert "speech" in take("auto", without_steps)
    assert "probs" in take("auto", text_rows()[0])
    # no_audio: likewise, passing over audio
    assert np.array_equal(take("no_audio")["unit_ids"], dumped["unit_ids"])
    assert "probs" in take("no_audio", without_steps)


def test_text_opens_no_audio(build, row_of_all, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("must not be called")

    monkeypatch.setattr("espnet_psslm.data.preprocessor.read_audio", fail)
    monkeypatch.setattr("espnet_psslm.steps.made.read_sample", fail)
    draw(build(source="text"), [row_of_all | {"path": "/nowhere.wav"}])


@pytest.mark.parametrize(("source", "field"), [("audio", "path"), ("steps", "steps")])
def test_missing_field_is_named(build, source, field):
    with pytest.raises(ValueError, match=f"'utt0-ASR' has no field '{field}'.*source={source}"):
        draw(build(source=source))


def test_unknown_source_is_named(build):
    with pytest.raises(ValueError, match="source 'wav' is unknown; use one of"):
        build(source="wav")


@pytest.mark.parametrize(
    "target", ["Schön, daß „er“ …", "你好，世界！", "مَرْحَبًا، كيف", "नमस्ते।", "L’été, ça va ?"]
)
def test_targets_of_every_language_are_untouched(build, target):
    sample = build()("a", {"sample": text_rows()[0] | {"target": target}})
    ids = sample["target_ids"][:-1]
    assert build_tokenizer().decode(ids, clean_up_tokenization_spaces=False) == target
