"""The bridge with prefix cache and batches against plain full sequences, one at a time; float64."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import GenerationConfig

from espnet_psslm.acoustic.base import AcousticModel
from espnet_psslm.bridge.phone_sync import MergeThenDrop
from espnet_psslm.bridge.projector import LinearSiLU
from espnet_psslm.bridge.steps import PosteriorSteps, collate_steps
from espnet_psslm.llm import search_limits
from espnet_psslm.llm.prefix_attention import SharedPrefix
from espnet_psslm.llm.prefix_cache import CopiedPrefix
from espnet_psslm.llm.search import Search
from espnet_psslm.training.espnet_model import PSSLMModel
from tests.helpers import build_lm

NUM_UNITS = 11
VOCAB = 40
END, PAD = 1, 2
PREFIXES = ((3, 4, 5, 6), (7, 8), (9,))
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma", "gemma3_text", "mistral")
COPIED = ("gemma2", "gemma3_text", "mistral")  # sliding windows
TOLERANCE = {"rtol": 0.0, "atol": 1e-9}


class FakeAcoustic(AcousticModel):
    """Takes the samples themselves for units, one frame a sample."""

    token_list = [str(unit) for unit in range(NUM_UNITS)]
    max_duration_s = 30.0
    load = encode_frames = None

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def encode(self, speech, speech_lengths):
        return speech[..., None], speech_lengths

    def classify(self, features):
        posterior = torch.full((*features.shape[:2], NUM_UNITS), 0.001)
        return posterior.scatter_(2, features.long(), 0.99).log()


def build(*, seed=0, acoustic=None, dtype=torch.float64, architecture="llama"):
    torch.manual_seed(seed)
    window = {"sliding_window": 5} if architecture in COPIED else {}
    lm = build_lm(VOCAB, architecture=architecture, **window).to(dtype)
    model = PSSLMModel(
        lm,
        LinearSiLU(NUM_UNITS, 32, hidden=24).to(dtype),
        prefixes=PREFIXES,
        end_id=END,
        pad_id=PAD,
        acoustic=acoustic,
        reduction=MergeThenDrop(blank_id=0, max_units=4),
    )
    with torch.no_grad():
        model.projector.output.weight.mul_(20.0)  # speech that matters to the answer
    return model.eval()


def sample(prompt, before, units, after, target):
    """One sample, as plain lists; ``units`` rows have two listed units."""
    ids = torch.tensor([[u, (u + 1) % NUM_UNITS] for u in units], dtype=torch.long).reshape(-1, 2)
    probs = torch.tensor([[0.8, 0.1]]).repeat(len(units), 1)
    return SimpleNamespace(
        prompt=prompt, before=before, ids=ids, probs=probs, after=after, target=[*target, END]
    )


SAMPLES = [
    sample(0, [], [3, 5, 7], [20, 21], [30, 31, 32]),
    sample(1, [22], [4], [20, 21, 23], [33]),
    sample(0, [], [], [20, 21], [34, 35]),  # nothing was heard
    sample(2, [24, 25], [9, 1, 9, 2, 10, 3], [26], []),
    sample(1, [], [6, 6], [20], [36, 37, 38, 39, 30]),
]


def pad(rows, value=PAD, extra=0):
    width = max(map(len, rows)) + extra
    padded = [[*row, *[value] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.long), torch.tensor([len(row) for row in rows])


def collate(samples, *, value=PAD, extra=0):
    """Arguments of ``forward``; padding holds ``value``, ``extra`` places more than needed."""
    unit_ids, probs, lengths = collate_steps(
        [(s.ids, s.probs) for s in samples], num_units=NUM_UNITS
    )
    batch = {
        "prompt_index": [s.prompt for s in samples],
        "given": PosteriorSteps(unit_ids, probs.double(), lengths, NUM_UNITS),
    }
    for name in ("before", "after", "target"):
        ids, counts = pad([getattr(s, name) for s in samples], value, extra)
        batch |= {f"{name}_ids": ids, f"{name}_ids_lengths": counts}
    return batch


def forward(model, samples, **padding):
    loss, _, weight = model(
        utt_id=[str(i) for i in range(len(samples))], **collate(samples, **padding)
    )
    return loss, weight[0]


def answer(model, batch, *, labels=None, drafts=None, **search):
    """Answers to a batch of ``collate``; its targets are not looked at."""
    batch = {name: value for name, value in batch.items() if not name.startswith("target")}
    prompts = {n: batch.pop(n) for n in list(batch) if n.startswith(("prompt", "before", "after"))}
    return model.answer(
        model.steps(**batch), Search(**search), labels=labels, drafts=drafts, **prompts
    )


def generate(model, batch, **search):
    """The best answer to each, and its log probability per token."""
    return [(best.token_ids, best.score) for best, *_ in answer(model, batch, **search)]


def plain_context(model, s):
    """(1, L, H): the whole sequence up to the answer, prefix included, no padding."""
    embed = model.lm.module.get_input_embeddings()

    def tokens(ids):
        return embed(torch.tensor(ids, dtype=torch.long))

    probs = s.probs.double()
    rest = (1.0 - probs.sum(1, keepdim=True)) / (NUM_UNITS - 2)
    posterior = rest.repeat(1, NUM_UNITS).scatter(1, s.ids, probs)
    projector = model.projector
    speech = projector.output(projector.activation(projector.input.dense_forward(posterior)))
    parts = [tokens(PREFIXES[s.prompt]), tokens(s.before), speech, tokens(s.after)]
    return torch.cat(parts)[None]


def plain_log_prob(model, s, target):
    """Log probabilities of the tokens of ``target`` behind a sample's context."""
    fed = model.lm.module.get_input_embeddings()(torch.tensor([target[:-1]], dtype=torch.long))
    context = plain_context(model, s)
    logits = model.lm.module(inputs_embeds=torch.cat([context, fed], 1)).logits[0]
    log_prob = logits[context.shape[1] - 1 :].log_softmax(-1)
    return log_prob[torch.arange(len(target)), torch.tensor(target)]


def gradients(model, loss):
    parameters = dict(model.projector.named_parameters())
    return dict(zip(parameters, torch.autograd.grad(loss, parameters.values()), strict=True))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_gradients_equal_the_full_forward(architecture):
    model = build(architecture=architecture)
    assert isinstance(model.prefixes, CopiedPrefix if architecture in COPIED else SharedPrefix)
    loss, weight = forward(model, SAMPLES)
    expected = -torch.cat([plain_log_prob(model, s, s.target) for s in SAMPLES])
    assert weight == len(expected)
    torch.testing.assert_close(loss, expected.mean(), **TOLERANCE)
    ours, theirs = gradients(model, loss), gradients(model, expected.mean())
    assert ours.keys() == {
        *(f"input.{name}" for name in ("gain", "shift", "weight", "bias")),
        *(f"output.{name}" for name in ("weight", "bias")),
    }
    for name in ours:
        assert theirs[name].abs().max() > 1e-6
        torch.testing.assert_close(ours[name], theirs[name], **TOLERANCE)


def test_gemma_2_in_single_precision():
    """Its softmax is single in any precision: in double, a row of padding alone becomes NaN."""
    exact = build(architecture="gemma2")
    expected = -torch.cat([plain_log_prob(exact, s, s.target) for s in SAMPLES]).mean()
    loss, _ = forward(build(architecture="gemma2", dtype=torch.float32), SAMPLES)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0.0)


def test_second_batch_uses_the_cache_and_finds_it_unchanged():
    model = build()
    first, _ = forward(model, SAMPLES)
    generate(model, collate(SAMPLES), beam_size=3, max_new_tokens=4)
    states = {index: id(state) for index, state in model.prefixes.states.items()}
    again, _ = forward(model, SAMPLES)
    assert torch.equal(first, again)
    assert {index: id(state) for index, state in model.prefixes.states.items()} == states


def test_language_model_gets_no_gradient():
    model = build()
    forward(model, SAMPLES)[0].backward()
    assert all(p.grad is None for p in model.lm.parameters())
    assert all(p.grad is not None for p in model.projector.parameters())


def test_batch_is_the_weighted_mean_of_single_samples():
    model = build()
    loss, weight = forward(model, SAMPLES)
    single = [forward(model, [s]) for s in SAMPLES]
    expected = sum(one * tokens for one, tokens in single) / sum(tokens for _, tokens in single)
    assert weight == sum(tokens for _, tokens in single)
    torch.testing.assert_close(loss, expected, **TOLERANCE)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("value", [PAD, END, 17])
def test_padding_changes_nothing(value, architecture):
    model = build(architecture=architecture)
    plain, _ = forward(model, SAMPLES)
    padded, _ = forward(model, SAMPLES, value=value, extra=5)
    torch.testing.assert_close(padded, plain, **TOLERANCE)
    inputs = [collate(SAMPLES, **padding) for padding in ({}, {"value": value, "extra": 5})]
    answers = [generate(model, one, beam_size=3, max_new_tokens=6) for one in inputs]
    assert [ids for ids, _ in answers[0]] == [ids for ids, _ in answers[1]]
    assert [s for _, s in answers[0]] == pytest.approx([s for _, s in answers[1]], abs=1e-9)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("beam_size", [1, 2, 4])
def test_generation_equals_the_full_sequence_alone(beam_size, architecture):
    model = build(architecture=architecture)
    together = generate(model, collate(SAMPLES), beam_size=beam_size, max_new_tokens=8)
    answers = set()
    for s, (ids, score) in zip(SAMPLES, together, strict=True):
        if not len(s.ids):
            assert (ids, score) == ((), 0.0)
            continue
        context = plain_context(model, s)
        output = model.lm.module.generate(
            inputs_embeds=context,
            attention_mask=torch.ones(context.shape[:2], dtype=torch.long),
            generation_config=GenerationConfig(
                num_beams=beam_size,
                max_new_tokens=8,
                length_penalty=0.0,
                do_sample=False,
                eos_token_id=END,
                pad_token_id=PAD,
            ),
        )[0].tolist()
        expected = output[: output.index(END)] if END in output else output
        assert list(ids) == expected
        spoken = [*ids, END] if len(ids) < 8 else list(ids)
        assert score == pytest.approx(plain_log_prob(model, s, spoken).mean().item(), abs=1e-5)
        alone = generate(model, collate([s]), beam_size=beam_size, max_new_tokens=8)
        assert alone[0][0] == ids
        assert alone[0][1] == pytest.approx(score, abs=1e-5)
        answers.add(ids)
    assert len(answers) > 2


def test_wide_beam_finds_the_most_probable_answer_of_all():
    """Sums of log probabilities decide: their means would reward answers that repeat themselves."""
    model = build(seed=2)
    end = model.end_id = 11  # for one sample the likeliest first token
    embed = model.lm.module.get_input_embeddings()
    heard = [s for s in SAMPLES if len(s.ids)]
    found = generate(model, collate(heard), beam_size=VOCAB, max_new_tokens=2)
    means_agree = True
    for s, (ids, score) in zip(heard, found, strict=True):
        context = plain_context(model, s).expand(VOCAB, -1, -1)
        fed = torch.cat([context, embed(torch.arange(VOCAB))[:, None]], 1)
        logits = model.lm.module(inputs_embeds=fed).logits[:, -2:].log_softmax(-1)
        answers = (logits[0, 0][:, None] + logits[:, 1]).masked_fill(
            torch.arange(VOCAB)[:, None] == end, -torch.inf
        )
        first, second = divmod(int(answers.argmax()), VOCAB)
        long, short = answers.max().item(), logits[0, 0, end].item()
        best, total = ((first, second), long) if long > short else ((end,), short)
        assert ids == tuple(token for token in best if token != end)
        assert score == pytest.approx(total / len(best), abs=1e-5)
        means_agree &= (long > short) == (long / 2 > short)
    assert not means_agree


def test_more_beams_find_no_worse_answers():
    model = build()
    batch = collate([s for s in SAMPLES if len(s.ids)])
    greedy, beams = (
        [score for _, score in generate(model, batch, beam_size=size, max_new_tokens=1)]
        for size in (1, 4)
    )
    assert greedy == pytest.approx(beams, abs=1e-9)  # of one token, the best is the greedy one


def test_pure_silence_never_asks_the_language_model(monkeypatch):
    model = build()

    def fail(*_, **__):
        raise AssertionError("must not be called")

    monkeypatch.setattr(model.lm.module, "generate", fail)
    batch = collate([SAMPLES[2], SAMPLES[2]])
    assert generate(model, batch, beam_size=4) == [((), 0.0)] * 2


def with_audio(samples, audio_rows):
    """A batch where some rows come as audio that the fake acoustic model hears as their units."""
    batch = collate(samples)
    given = [row for row in range(len(samples)) if row not in audio_rows]
    heard = [samples[row].ids[:, 0].tolist() for row in audio_rows]
    speech, lengths = pad(heard, value=0)
    return batch | {
        "given": batch["given"].select(torch.tensor(given)) if given else None,
        "speech": speech.float(),
        "speech_lengths": lengths,
        "speech_rows": audio_rows,
    }


def heard_sample(s):
    """The sample whose steps are what the fake acoustic model's posterior reduces to."""
    posterior = FakeAcoustic().log_posterior(s.ids[None, :, 0].float(), torch.tensor([len(s.ids)]))
    steps = MergeThenDrop(blank_id=0, max_units=4)(posterior[0].exp(), posterior[1])
    count = int(steps.lengths[0])
    fields = vars(s) | {"ids": steps.unit_ids[0, :count], "probs": steps.probs[0, :count]}
    return SimpleNamespace(**fields)


@pytest.mark.parametrize("audio_rows", [[0, 3], [1, 2], [4], [0, 1, 2, 3, 4]])
def test_mixed_batch_keeps_the_order_of_its_rows(audio_rows):
    acoustic = FakeAcoustic()
    model = build(acoustic=acoustic)
    batch = with_audio(SAMPLES, audio_rows)
    loss, _, _ = model(utt_id=list("abcde"), **batch)
    same = [heard_sample(s) if i in audio_rows else s for i, s in enumerate(SAMPLES)]
    # Probabilities listed beyond a row's own are widened in single precision.
    expected, _ = forward(model, same)
    torch.testing.assert_close(loss, expected, rtol=0.0, atol=1e-6)
    single = [forward(model, [s]) for s in same]
    mean = sum(one * n for one, n in single) / sum(n for _, n in single)
    torch.testing.assert_close(loss, mean, rtol=0.0, atol=1e-5)
    loss.backward()
    assert acoustic.unused.grad is None


def test_audio_without_acoustic_model_is_an_error():
    with pytest.raises(ValueError, match="built without an acoustic model: set acoustic_conf"):
        build()(utt_id=list("abcde"), **with_audio(SAMPLES, [0]))


def test_bfloat16_language_model_with_float32_projector():
    exact = build()
    mixed = build().float()  # as ESPnet's trainer casts: the frozen side keeps its dtype
    assert mixed.lm.module.dtype == torch.float64
    mixed.lm.module.to(torch.bfloat16)
    mixed.float().train()
    assert mixed.lm.module.dtype == torch.bfloat16
    loss, _ = forward(mixed, SAMPLES)
    assert loss.dtype == torch.float32
    # bfloat16 has 8 bits: single positions are off by percents, their mean by less.
    torch.testing.assert_close(loss.double(), forward(exact, SAMPLES)[0], rtol=0.03, atol=0.0)
    ours, theirs = gradients(mixed, loss), gradients(exact, forward(exact, SAMPLES)[0])
    for name in ours:
        assert ours[name].dtype == torch.float32
        cosine = nn.functional.cosine_similarity(
            ours[name].flatten().double(), theirs[name].flatten(), dim=0
        )
        assert cosine > 0.95, name
    answers = generate(mixed, collate(SAMPLES), beam_size=2, max_new_tokens=4)
    assert answers[2] == ((), 0.0)
    assert all(score < 0 for i, (_, score) in enumerate(answers) if i != 2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("beam_size", [1, 3])
def test_each_answer_keeps_to_the_limit_of_its_own_length(beam_size, architecture, monkeypatch):
    monkeypatch.setattr(search_limits, "SHORTEST", 2)
    model = build(architecture=architecture)
    search = {"beam_size": beam_size, "max_new_tokens": 9, "max_len_ratio": 0.7}
    together = generate(model, collate(SAMPLES), **search)
    free = generate(model, collate(SAMPLES), **search | {"max_len_ratio": 0.0})
    limits = [max(2, math.ceil(0.7 * len(s.ids))) for s in SAMPLES]
    assert len(set(limits)) > 1
    for s, limit, (ids, score) in zip(SAMPLES, limits, together, strict=True):
        assert len(ids) <= limit - 1  # the end of turn is a token too
        assert END not in ids
        if len(s.ids):
            expected = plain_log_prob(model, s, [*ids, END]).mean().item()
            assert score == pytest.approx(expected, abs=1e-5)
        assert generate(model, collate([s]), **search)[0][0] == ids
    assert any(len(a) >= limit for (a, _), limit in zip(free, limits, strict=True))


def test_search_stops_once_nothing_can_beat_the_best(monkeypatch):
    model = build(seed=2)
    model.end_id = 11  # for one sample the likeliest first token
    batch = collate([s for s in SAMPLES if len(s.ids)])
    calls = []
    model.lm.module.get_decoder().register_forward_hook(lambda *_: calls.append(1))

    def search():
        calls.clear()
        return generate(model, batch, beam_size=3, max_new_tokens=40), len(calls)

    stopped, few = search()
    monkeypatch.setattr(search_limits.StopAtBest, "__call__", lambda self, ids, scores: scores)
    full, many = search()
    assert [ids for ids, _ in stopped] == [ids for ids, _ in full]
    assert [s for _, s in stopped] == pytest.approx([s for _, s in full], abs=1e-6)
    assert few < many
