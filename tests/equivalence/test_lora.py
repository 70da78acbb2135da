"""LoRA with batches, prefix cache and merging against plain full sequences, alone; float64."""

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from espnet_psslm.bridge.phone_sync import MergeThenDrop
from espnet_psslm.bridge.projector import LinearSiLU
from espnet_psslm.checkpoint import drop_frozen_from_state_dict
from espnet_psslm.llm.lora import LoRA
from espnet_psslm.training.espnet_model import PSSLMModel
from tests.equivalence.test_bridge import (
    END,
    NUM_UNITS,
    PAD,
    PREFIXES,
    SAMPLES,
    TOLERANCE,
    VOCAB,
    collate,
    forward,
    generate,
    plain_context,
    plain_log_prob,
)
from tests.helpers import build_lm

# Norms compute in float32, and ours sums a prefix's gradients over the batch before them.
GRADIENT_TOLERANCE = {"rtol": 0.0, "atol": 1e-6}
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "mistral")


def build(architecture="llama", *, dtype=torch.float64, seed=0, dropout=0.0, **options):
    torch.manual_seed(seed)
    window = {"sliding_window": 5} if architecture in ("mistral", "gemma2") else {}
    lm = build_lm(VOCAB, architecture=architecture, **window).to(dtype)
    held = LoRA(lm, r=3, alpha=6, dropout=dropout, **options)
    generator = torch.Generator().manual_seed(seed + 1)
    for name, parameter in lm.named_parameters():
        if "lora_B" in name:  # zero at the start: adapters that have learnt something
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data.copy_(0.3 * noise)
    model = PSSLMModel(
        held,
        LinearSiLU(NUM_UNITS, 32, hidden=24).double(),
        prefixes=PREFIXES,
        end_id=END,
        pad_id=PAD,
        reduction=MergeThenDrop(blank_id=0, max_units=4),
    )
    with torch.no_grad():
        model.projector.output.weight.mul_(20.0)
    drop_frozen_from_state_dict(model)
    return model.eval()


def plain_loss(model):
    log_probs = [plain_log_prob(model, s, s.target) for s in SAMPLES]
    return -torch.cat(log_probs).mean()


def trained(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("train_embeddings", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_gradients_equal_the_full_forward(architecture, train_embeddings):
    model = build(architecture, train_embeddings=train_embeddings)
    loss, _ = forward(model, SAMPLES)
    expected = plain_loss(model)
    if architecture == "gemma2":  # the plain model caps its logits itself, in the same way
        assert model.lm.module.config.final_logit_softcapping
    torch.testing.assert_close(loss, expected, **TOLERANCE)
    parameters = trained(model)
    assert sum("lora_" in name for name in parameters) == 2 * 2 * 7
    assert any("embed_tokens" in name for name in parameters) == train_embeddings
    ours, theirs = (torch.autograd.grad(x, parameters.values()) for x in (loss, expected))
    for name, got, want in zip(parameters, ours, theirs, strict=True):
        assert want.abs().max() > 1e-5, name
        torch.testing.assert_close(got, want, **GRADIENT_TOLERANCE, msg=name)


def _exact_norm(norm, hidden):
    scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)
    return norm.weight * hidden * scale


def test_gradients_are_exact_where_norms_are(monkeypatch):
    monkeypatch.setattr(LlamaRMSNorm, "forward", _exact_norm)
    model = build(train_embeddings=True)
    parameters = trained(model)
    losses = forward(model, SAMPLES)[0], plain_loss(model)
    ours, theirs = (torch.autograd.grad(loss, parameters.values()) for loss in losses)
    for name, got, want in zip(parameters, ours, theirs, strict=True):
        torch.testing.assert_close(got, want, rtol=0.0, atol=1e-12, msg=name)


def test_a_prefix_is_read_once_a_batch_in_training():
    model = build().train()
    read = []
    layer = model.lm.module.get_decoder().layers[0]
    layer.register_forward_hook(lambda _, __, output: read.append(tuple(output.shape[:2])))
    forward(model, SAMPLES)
    assert len({s.prompt for s in SAMPLES}) < len(SAMPLES)
    behind = max(plain_context(model, s).shape[1] - len(PREFIXES[s.prompt]) + len(s.target) - 1
                 for s in SAMPLES)  # fmt: skip
    assert read == [(len(PREFIXES), max(map(len, PREFIXES))), (len(SAMPLES), behind)]


@pytest.mark.parametrize("architecture", ["llama", "mistral"])
@pytest.mark.parametrize("train_embeddings", [False, True])
@pytest.mark.parametrize("fused", [False, True])  # a fused update leaves the version as it was
def test_cache_serves_validation_and_follows_training(architecture, train_embeddings, fused):
    model = build(architecture, train_embeddings=train_embeddings)
    optimizer = torch.optim.AdamW(trained(model).values(), lr=0.1, fused=fused)
    losses = []
    for _ in range(3):
        before = dict(model.prefixes.states)
        loss, _ = forward(model.train(), SAMPLES)
        assert not model.prefixes.states
        with torch.no_grad():
            checked, _ = forward(model.eval(), SAMPLES)
        assert set(model.prefixes.states) == {0, 1, 2}
        assert not any(before.get(i) is state for i, state in model.prefixes.states.items())
        torch.testing.assert_close(checked, loss.detach(), **TOLERANCE)
        losses.append(float(checked))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()  # after validation: what is cached is stale from here on
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("architecture", ["llama", "gemma", "mistral"])
def test_merged_or_not_answers_alike(architecture):
    model = build(architecture)
    batch = collate(SAMPLES)
    weights = {name: p.clone() for name, p in model.named_parameters()}
    plain = generate(model, batch, beam_size=3, max_new_tokens=6)
    model.lm.merge()
    merged = generate(model, batch, beam_size=3, max_new_tokens=6)
    assert [ids for ids, _ in merged] == [ids for ids, _ in plain]
    assert [s for _, s in merged] == pytest.approx([s for _, s in plain], abs=1e-5)
    with torch.no_grad():
        loss, _ = forward(model, SAMPLES)
    changed = [n for n, p in model.named_parameters() if not torch.equal(p, weights[n])]
    assert len(changed) == 2 * 7 and all("base_layer" in name for name in changed)
    model.lm.merge()  # once is enough
    model.lm.unmerge()
    torch.testing.assert_close(forward(model, SAMPLES)[0].detach(), loss, **TOLERANCE)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, weights[name], **TOLERANCE)


def test_adapters_matter():
    model = build()
    with torch.no_grad():
        tuned, _ = forward(model, SAMPLES)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
        plain, _ = forward(model, SAMPLES)
    assert (tuned - plain).abs() > 0.1


@pytest.mark.parametrize("train_embeddings", [False, True])
def test_checkpoint_holds_what_is_trained_and_restores_it(train_embeddings):
    model = build(train_embeddings=train_embeddings)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert all(name.startswith("projector.") or "lora_" in name or "embed_tokens" in name
               or "lm_head" in name for name in state)  # fmt: skip
    assert ("lm.module.model.embed_tokens.weight" in state) == train_embeddings
    other = build(seed=7, train_embeddings=train_embeddings)
    with torch.no_grad():
        forward(other, SAMPLES)  # fills its cache
        # Frozen weights come from the same source.
        frozen = {n: p for n, p in model.named_parameters() if not p.requires_grad}
        for name, parameter in other.named_parameters():
            if not parameter.requires_grad:
                parameter.copy_(frozen[name])
        other.load_state_dict(state, strict=True)
        ours, theirs = forward(other, SAMPLES)[0], forward(model, SAMPLES)[0]
    torch.testing.assert_close(ours, theirs, **TOLERANCE)


@pytest.mark.parametrize("train_embeddings", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "gemma3_text"])
def test_bfloat16_keeps_adapters_in_single_precision(architecture, train_embeddings):
    model = build(architecture, dtype=torch.bfloat16, train_embeddings=train_embeddings)
    model = model.float()  # as ESPnet's trainer casts
    assert model.lm.dtype == torch.bfloat16
    assert {p.dtype for p in trained(model).values()} == {torch.float32}
    exact = build(architecture, train_embeddings=train_embeddings)
    loss, _ = forward(model.train(), SAMPLES)
    torch.testing.assert_close(
        loss.double(), forward(exact, SAMPLES)[0].detach(), rtol=0.05, atol=0.0
    )
    loss.backward()
    assert all(p.grad is not None for p in trained(model).values())
    with torch.no_grad():
        again, _ = forward(model.eval(), SAMPLES)
    torch.testing.assert_close(again, loss.detach(), rtol=0.02, atol=0.0)
    for merged in (False, True):
        if merged:
            model.lm.merge()
        answers = generate(model, collate(SAMPLES), beam_size=2, max_new_tokens=4)
        assert all(score < 0 for row, (_, score) in enumerate(answers) if row != 2)


def test_dropout_in_training_only_and_only_on_adapters():
    model = build(dropout=0.5).train()
    assert not model.lm.module.training
    one, two = (forward(model, SAMPLES)[0] for _ in range(2))
    assert one != two
    model.eval()
    assert forward(model, SAMPLES)[0] == forward(model, SAMPLES)[0]


def test_output_layer_that_is_not_tied_stays_frozen():
    lm = build_lm(VOCAB).double()
    lm.lm_head.weight = nn.Parameter(lm.lm_head.weight.clone())
    held = LoRA(lm, r=2, train_embeddings=True)
    assert lm.get_input_embeddings().weight.requires_grad
    assert not lm.get_output_embeddings().weight.requires_grad
    assert held.trained


def test_unknown_layers_are_named():
    with pytest.raises(ValueError, match=r"target_modules \['query'\]"):
        LoRA(build_lm(VOCAB), target_modules=["query"])
