"""Trained ends of prefixes against whole sequences behind explicit keys and values; float64."""

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from espnet_psslm.bridge.projector import LinearSiLU
from espnet_psslm.checkpoint import drop_frozen_from_state_dict
from espnet_psslm.llm.tuned_prefix import PrefixTuning
from espnet_psslm.training.espnet_model import PSSLMModel
from tests.equivalence import test_bridge as bridge
from tests.helpers import build_lm

NUM_TUNED = 2  # of prefixes of 4, 2 and 1 tokens
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma")


def build(*, architecture="llama", num_tuned=NUM_TUNED, moved=True, seed=0):
    lm = build_lm(bridge.VOCAB, architecture=architecture).double()
    torch.manual_seed(seed)
    width = lm.config.hidden_size
    model = PSSLMModel(
        PrefixTuning(lm, num_tuned=num_tuned),
        LinearSiLU(bridge.NUM_UNITS, width, hidden=24).double(),
        prefixes=bridge.PREFIXES,
        end_id=bridge.END,
        pad_id=bridge.PAD,
    )
    if moved:  # trained values are no longer what the prompt gave
        with torch.no_grad():
            for tuned in model.prefixes.tuned:
                tuned += 0.5 * torch.randn_like(tuned)
    return model


def plain_states(model, prompt, tuned):
    """A cache for one row: what the tokens give, its end written over."""
    decoder = model.lm.module.get_decoder()
    with torch.no_grad():
        ids = torch.tensor([bridge.PREFIXES[prompt]])
        made = decoder(input_ids=ids, past_key_values=DynamicCache()).past_key_values
    cache = DynamicCache()
    for index, layer in enumerate(made.layers):
        kept = layer.keys.shape[2] - tuned.shape[3]
        keys, values = (
            torch.cat([states[:, :, :kept], tuned[part, index][None]], 2)
            for part, states in enumerate((layer.keys, layer.values))
        )
        cache.update(keys, values, index)
    return cache


def plain_logits(model, s, tuned, answer):
    """(1, L, tokens): behind the cache, context and answer; the last position is left out."""
    embed = model.lm.module.get_input_embeddings()
    context = bridge.plain_context(model, s)[:, len(bridge.PREFIXES[s.prompt]) :]
    fed = torch.cat([context, embed(torch.tensor([answer[:-1]], dtype=torch.long))], 1)
    length = len(bridge.PREFIXES[s.prompt])
    output = model.lm.module(
        inputs_embeds=fed,
        past_key_values=plain_states(model, s.prompt, tuned),
        position_ids=length + torch.arange(fed.shape[1])[None],
    )
    return output.logits[:, -len(answer) :]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_gradients_equal_a_plain_cache(architecture):
    model = build(architecture=architecture)
    samples = [s for s in bridge.SAMPLES if len(s.ids)]
    loss, weight = bridge.forward(model, samples)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == 3 + len(list(model.projector.parameters()))
    gradients = torch.autograd.grad(loss, trained)
    total = sum(
        nn.functional.cross_entropy(
            plain_logits(model, s, model.prefixes.tuned[s.prompt], s.target)[0],
            torch.tensor(s.target),
            reduction="sum",
        )
        for s in samples
    )
    expected = torch.autograd.grad(total / weight, trained)
    torch.testing.assert_close(loss, total / weight, **bridge.TOLERANCE)
    for ours, plain in zip(gradients, expected, strict=True):
        assert plain.abs().max() > 1e-6
        torch.testing.assert_close(ours, plain, **bridge.TOLERANCE)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_starts_from_the_frozen_prompt(architecture):
    tuned = build(architecture=architecture, moved=False)
    frozen = bridge.build(architecture=architecture)
    frozen.projector.load_state_dict(tuned.projector.state_dict())
    torch.testing.assert_close(
        bridge.forward(tuned, bridge.SAMPLES), bridge.forward(frozen, bridge.SAMPLES)
    )


def test_generation_reads_the_trained_prefix():
    model = build()
    heard = [s for s in bridge.SAMPLES if len(s.ids)]
    search = {"beam_size": 1, "max_new_tokens": 5}
    together = bridge.generate(model, bridge.collate(heard), **search)
    for s, (ids, _) in zip(heard, together, strict=True):
        answer = []
        while len(answer) < 5 and bridge.END not in answer:
            logits = plain_logits(model, s, model.prefixes.tuned[s.prompt], [*answer, 0])
            answer.append(int(logits[0, -1].argmax()))
        assert list(ids) == [token for token in answer if token != bridge.END]
    start = bridge.generate(build(moved=False), bridge.collate(heard), **search)
    assert [ids for ids, _ in start] != [ids for ids, _ in together]


def test_checkpoint_holds_the_tuned_ends_and_nothing_of_the_language_model():
    model, other = build(), build(moved=False, seed=1)
    for one in (model, other):
        drop_frozen_from_state_dict(one)
    state = model.state_dict()
    assert sum(name.startswith("prefixes.tuned.") for name in state) == 3
    assert not any(name.startswith("lm.") for name in state)
    other.load_state_dict(state)
    torch.testing.assert_close(
        bridge.forward(other, bridge.SAMPLES), bridge.forward(model, bridge.SAMPLES)
    )


def test_a_sliding_window_is_refused_before_training():
    with pytest.raises(ValueError, match="tuning: prefix does not know the attention of mistral"):
        build(architecture="mistral")


def test_nothing_to_tune_is_refused():
    with pytest.raises(ValueError, match=r"num_tuned \(0\) must be at least 1"):
        build(num_tuned=0)
