"""What the rows of the bridge's training step share: models, a batch, ours and the plain way.

Legend: B batch, P prefix tokens, U steps, V units, D hidden width, H language model width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from espnet_psslm.bridge.projector import LinearSiLU
from espnet_psslm.bridge.simulate import TASUSimulator
from espnet_psslm.bridge.steps import PosteriorSteps, collate_steps
from espnet_psslm.device import is_host
from espnet_psslm.llm.splice import splice
from espnet_psslm.training.espnet_model import PSSLMModel

END = 2  # token
IGNORED = -100  # target of a position without one

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


@dataclass(frozen=True)
class Size:
    """A size; lengths are tokens or steps of a row of the batch."""

    batch: int = 16
    prefix: int = 64
    steps: tuple[int, ...] = (20, 16, 18, 14)  # in turn
    behind: int = 5  # tokens between speech and answer
    answers: tuple[int, ...] = (16, 12, 14, 8)  # in turn
    num_units: int = 25055
    hidden: int = 2048
    architecture: str = "llama"
    lm: Mapping[str, int] = field(default_factory=lambda: SMOLLM2)
    dtype: torch.dtype = torch.float32  # of the language model
    target: float | None = None

    @property
    def tolerance(self) -> float:
        """How far apart, relatively, gradients may lie."""
        return 1e-4 if self.dtype == torch.float32 else 0.1


ACCELERATOR = Size(architecture="qwen2", lm=QWEN2_5_1_5B, dtype=torch.bfloat16)


def size_for(device: torch.device) -> Size:
    """A language model that the device trains in seconds."""
    return Size() if is_host(device) else ACCELERATOR


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


def simulate(lengths: list[int], num_units: int, *, seed: int = 0) -> PosteriorSteps:
    """TASU's simulated Steps of random transcripts of so many units; none is deleted."""
    rng = np.random.default_rng(seed)
    simulator = TASUSimulator(num_units, blank_id=0, delete_prob=0.0)
    rows = []
    for length in lengths:
        ids, probs = simulator(rng.integers(1, num_units, length).tolist(), rng)
        rows.append((torch.from_numpy(ids), torch.from_numpy(probs)))
    return PosteriorSteps(*collate_steps(rows, num_units=num_units), num_units)


class DenseProjector(nn.Sequential):
    """The layers of a ``LinearSiLU``, with its weights, on dense rows."""

    def __init__(self, projector: LinearSiLU) -> None:
        layer = projector.input
        norm = nn.LayerNorm(layer.num_units, eps=layer.eps)
        first = nn.Linear(*layer.weight.shape)
        second = nn.Linear(projector.output.in_features, projector.output.out_features)
        super().__init__(norm, first, nn.SiLU(), second)
        with torch.no_grad():
            norm.weight.copy_(layer.gain)
            norm.bias.copy_(layer.shift)
            first.weight.copy_(layer.weight.T)
            first.bias.copy_(layer.bias)
        second.load_state_dict(projector.output.state_dict())

    def gradients(self) -> dict[str, Tensor]:
        """Gradients by the names that ``LinearSiLU`` has."""
        norm, first, _, second = self
        return {
            "input.gain": norm.weight.grad,
            "input.shift": norm.bias.grad,
            "input.weight": first.weight.grad.T,
            "input.bias": first.bias.grad,
            "output.weight": second.weight.grad,
            "output.bias": second.bias.grad,
        }


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
            "given": batch.steps,
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
    """Dense posteriors, whole sequences, all logits."""

    def __init__(self, lm: nn.Module, projector: DenseProjector, batch: Batch) -> None:
        self.lm, self.projector, self.batch = lm, projector, batch
        trained = [p for p in (*projector.parameters(), *lm.parameters()) if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=0.0)

    def __call__(self) -> Tensor:
        """Loss of a step."""
        self.optimizer.zero_grad()
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


def assert_same(ours: Ours, plain: Plain, size: Size) -> None:
    """The same loss, and the same gradients of the projector."""
    losses = ours().float(), plain().float()
    exact = size.dtype == torch.float32
    torch.testing.assert_close(*losses, rtol=1e-4 if exact else 0.03, atol=0.0)
    found = {name: parameter.grad for name, parameter in ours.projector.named_parameters()}
    expected = plain.projector.gradients()
    assert found.keys() == expected.keys()
    for name, grad in found.items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(grad, expected[name], rtol=0.0, atol=size.tolerance * scale)
