"""Row ``text_step``: a text-only training step of the bridge, from simulated Steps to new weights.

- plain: no encoder; simulated posteriors over all units, the whole prompt and all logits go through
  the models as their libraries offer it.
- published: the same behind an encoder of SenseVoice's size, which hears 5 s of audio per row and
  whose output is not used.

Same language model (random weights), same loss, same gradients. Frozen but for the projector. On an
accelerator the language model has Qwen2.5-1.5B's size and is in bfloat16, published in float32.

Legend: B batch, P prefix tokens, U steps, V units, D hidden width, H language model width.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import Case, Machine, Measured, Setting
from benchmarks.simulated_projector import (
    DenseProjector,
    assert_same_gradients,
    least_seconds,
    simulate,
)
from espnet_psslm.bridge.projector import LinearSiLU
from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.device import is_host
from espnet_psslm.llm.splice import splice
from espnet_psslm.training.espnet_model import PSSLMModel

END = 2  # token
IGNORED = -100  # target of a position without one
SENSEVOICE_FRAME_S = 0.06
SENSEVOICE_FEATURES = 560

SMOLLM2 = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}
QWEN2_5_1_5B = {
    "vocab_size": 151936,
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
}
SENSEVOICE = {
    "output_size": 512,
    "attention_heads": 4,
    "linear_units": 2048,
    "num_blocks": 50,
    "tp_blocks": 20,
    "kernel_size": 11,
}


@dataclass(frozen=True)
class Size:
    """One size of the row; lengths are tokens or steps of a row of the batch."""

    batch: int = 16
    prefix: int = 64
    steps: tuple[int, ...] = (20, 16, 18, 14)  # in turn
    behind: int = 5  # tokens between speech and answer
    answers: tuple[int, ...] = (16, 12, 14, 8)  # in turn
    num_units: int = 25055
    hidden: int = 2048
    audio_s: float = 5.0
    architecture: str = "llama"
    lm: Mapping[str, int] = field(default_factory=lambda: SMOLLM2)
    dtype: torch.dtype = torch.float32  # of the language model; published: always float32
    encoder: Mapping[str, Any] = field(default_factory=lambda: SENSEVOICE)
    target: float | None = None
    target_plain: float | None = None


FULL = Size(target=8.0, target_plain=3.0)
QUICK = Size(batch=2, audio_s=1.0)
ACCELERATOR = Size(architecture="qwen2", lm=QWEN2_5_1_5B, dtype=torch.bfloat16, target=20.0)


@dataclass(frozen=True)
class Batch:
    """What one step is given."""

    steps: PosteriorSteps
    prefix: Tensor  # (P,), tokens
    behind: Tensor  # (B, behind)
    answers: Tensor  # (B, longest)
    answer_lengths: Tensor  # (B,)


def make_batch(size: Size, device: torch.device) -> Batch:
    """Random tokens, and simulated Steps."""
    generator = torch.Generator().manual_seed(0)

    def tokens(*shape: int) -> Tensor:
        return torch.randint(3, size.lm["vocab_size"], shape, generator=generator).to(device)

    rows = range(size.batch)
    lengths = torch.tensor([size.answers[row % len(size.answers)] for row in rows])
    steps = simulate([size.steps[row % len(size.steps)] for row in rows], size.num_units)
    answers = tokens(size.batch, int(lengths.max()))
    answers[torch.arange(size.batch), lengths - 1] = END
    return Batch(
        steps.to(device),
        tokens(size.prefix),
        tokens(size.batch, size.behind),
        answers,
        lengths.to(device),
    )


class Ours:
    """``PSSLMModel`` as the trainer calls it."""

    def __init__(self, model: PSSLMModel, batch: Batch) -> None:
        self.projector = model.projector
        self.model = model
        rows = len(batch.answers)
        self.inputs = {
            "prompt_index": [0] * rows,
            "before_ids": batch.behind[:, :0],
            "before_ids_lengths": batch.answer_lengths * 0,
            "after_ids": batch.behind,
            "after_ids_lengths": torch.full_like(batch.answer_lengths, batch.behind.shape[1]),
            "target_ids": batch.answers,
            "target_ids_lengths": batch.answer_lengths,
            "utt_id": [str(row) for row in range(rows)],
            "num_units": batch.steps.num_units,
            "unit_ids": batch.steps.unit_ids,
            "probs": batch.steps.probs,
            "unit_ids_lengths": batch.steps.lengths,
        }
        # Rate 0: the cost of an update, and the same weights in every round.
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=0.0, fused=True)

    def __call__(self) -> Tensor:
        """Loss of a step."""
        self.optimizer.zero_grad()
        loss, _, _ = self.model(**self.inputs)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class Plain:
    """Dense posteriors, whole sequences, all logits; behind an encoder where there is one."""

    def __init__(
        self,
        lm: nn.Module,
        projector: DenseProjector,
        batch: Batch,
        *,
        encoder: nn.Module | None = None,
        features: Tensor | None = None,
    ) -> None:
        self.lm, self.projector, self.batch = lm, projector, batch
        self.encoder, self.features = encoder, features
        trained = [p for p in (*projector.parameters(), *lm.parameters()) if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=0.0)

    def __call__(self) -> Tensor:
        """Loss of a step."""
        self.optimizer.zero_grad()
        if self.encoder is not None:
            lengths = torch.full((len(self.features),), self.features.shape[1])
            with torch.no_grad():
                self.encoder(self.features, lengths.to(self.features.device))
        embeddings, mask, labels = self.sequence()
        loss = self.lm(
            inputs_embeds=embeddings, attention_mask=mask.long(), labels=labels, use_cache=False
        ).loss
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def sequence(self) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings (B, L, H), mask and labels (B, L) of whole sequences."""
        batch, embed = self.batch, self.lm.get_input_embeddings()
        rows = len(batch.answers)
        whole = torch.full_like(batch.answer_lengths, 1)
        speech = self.projector(batch.steps.dense()).to(self.lm.dtype)
        segments = [
            (embed(batch.prefix).expand(rows, -1, -1), whole * len(batch.prefix)),
            (speech, batch.steps.lengths),
            (embed(batch.behind), whole * batch.behind.shape[1]),
            (embed(batch.answers), batch.answer_lengths),
        ]
        embeddings, mask = splice(segments)
        start = sum(lengths for _, lengths in segments[:-1])
        place = start[:, None] + torch.arange(batch.answers.shape[1], device=start.device)
        real = place < (start + batch.answer_lengths)[:, None]
        labels = torch.full(mask.shape, IGNORED, device=start.device)
        row = torch.arange(rows, device=start.device)[:, None].expand_as(real)
        labels[row[real], place[real]] = batch.answers[real]
        return embeddings, mask, labels


def build_lm(size: Size) -> nn.Module:
    """A random language model, frozen."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        size.architecture, tie_word_embeddings=True, max_position_embeddings=2048, **size.lm
    )
    torch.manual_seed(0)
    lm = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    return lm.requires_grad_(False).eval()


def describe(lm: nn.Module) -> str:
    """Size and dtype of a language model."""
    count = sum(parameter.numel() for parameter in lm.parameters())
    return f"{count / 1e6:.0f} M weights of {str(lm.dtype).removeprefix('torch.')}"


def build_encoder(size: Size) -> nn.Module:
    """A random encoder of SenseVoice's kind, frozen."""
    from funasr.models.sense_voice.model import SenseVoiceEncoderSmall

    encoder = SenseVoiceEncoderSmall(SENSEVOICE_FEATURES, input_layer="pe", **size.encoder)
    return encoder.requires_grad_(False).eval()


def lm_flops(lm: nn.Module, *, tokens: int, targets: int) -> float:
    """Products of a frozen language model for a step, forward and backward towards its input."""
    embedding = lm.get_input_embeddings().weight.numel()
    body = sum(parameter.numel() for parameter in lm.parameters()) - embedding
    # Twice each way: no weight has a gradient.
    return 2 * 2 * (body * tokens + embedding * targets)


def least_step_seconds(
    machine: Machine, size: Size, batch: Batch, lm: nn.Module, *, read_once: int = 0
) -> float:
    """One step at best: the language model on own positions, the projector, the update.

    ``read_once``: further tokens that the language model reads and learns from.
    """
    tokens = (
        read_once + int(batch.steps.lengths.sum()) + int(batch.answer_lengths.sum() - size.batch)
    )
    tokens += size.batch * size.behind
    width = size.lm["hidden_size"]
    model = lm_flops(lm, tokens=tokens, targets=int(batch.answer_lengths.sum()))
    steps = int(batch.steps.lengths.sum())
    projector = least_seconds(machine, steps, (size.num_units, size.hidden, width))
    trained = size.num_units * size.hidden + size.hidden * width
    update = machine.seconds(moved=7 * 4 * trained)  # four tensors read, three written
    return machine.seconds(flops=model, dtype=size.dtype) + projector + update


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row."""
    if sizes is None:
        full = FULL if is_host(setting.machine.device) else ACCELERATOR
        sizes = (QUICK,) if setting.quick else (full,)
    for size in sizes:
        yield _case(setting, size)


def _ways(size: Size, batch: Batch, device: torch.device) -> dict[str, Ours | Plain]:
    lm = build_lm(size).to(device)
    torch.manual_seed(1)
    projector = LinearSiLU(size.num_units, size.lm["hidden_size"], hidden=size.hidden).to(device)
    dense = DenseProjector(projector).to(device)
    frames = max(1, round(size.audio_s / SENSEVOICE_FRAME_S)) + 4  # and four query frames
    published = Plain(
        copy.deepcopy(lm),
        dense,
        batch,
        encoder=build_encoder(size).to(device),
        features=torch.randn(size.batch, frames, SENSEVOICE_FEATURES).to(device),
    )
    lm = lm.to(size.dtype)
    plain = Plain(copy.deepcopy(lm), dense, batch)
    model = PSSLMModel(lm, projector, prefixes=[batch.prefix.tolist()], end_id=END, pad_id=END).to(
        device
    )
    return {"ours": Ours(model, batch), "published": published, "plain": plain}


def _case(setting: Setting, size: Size) -> Case:
    machine = setting.machine
    batch = make_batch(size, machine.device)
    ways = _ways(size, batch, machine.device)
    ours, plain = ways["ours"], ways["plain"]

    def check() -> None:
        exact = size.dtype == torch.float32
        losses = [way() for way in (ways["published"], ours, plain)]
        for other in (losses[0], losses[2]):
            torch.testing.assert_close(
                losses[1].float(), other.float(), rtol=1e-4 if exact else 0.03, atol=0.0
            )
        assert_same_gradients(
            ours.projector, plain.projector.gradients(), tolerance=1e-4 if exact else 0.1
        )

    def beats_plain(measured: Measured) -> bool:
        times = measured.times
        return times["plain"][1] >= size.target_plain * times["ours"][1]

    limits = {"half of plain's memory": lambda m: m.peaks["ours"] <= 0.5 * m.peaks["plain"]}
    if size.target_plain is not None:
        limits[f"{size.target_plain:g} x plain"] = beats_plain
    return Case(
        row="text_step",
        size=f"B {size.batch}, V {size.num_units}, P {size.prefix}, {describe(plain.lm)}",
        ways=ways,
        against="published",
        target=size.target,
        bound_s=least_step_seconds(machine, size, batch, plain.lm),
        items=size.batch,
        unit="rows",
        check=check,
        limits=limits,
    )
