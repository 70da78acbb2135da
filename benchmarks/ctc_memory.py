"""Row ``ctc_memory``: the most that a training step of Whisper-CTC holds beyond the loaded model.

- Frozen encoder, against forward: one pass of frontend and encoder without gradients, beside two
  tensors of the logits' size (they and their gradient).
- Trained encoder, against padded: the step of ``ctc_step`` on 30 seconds.

Limits only: how long the ways take is another row. What the optimizer keeps was there before.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.ctc_step import (
    Size,
    Step,
    WhisperCTC,
    forward_operations,
    make_batch,
    save_whisper,
)
from benchmarks.measure import Call, Case, Measured, Setting

FULL = Size(16, 4.0)
QUICK = Size(2, 4.0)
ABOVE_FORWARD = 1.2  # times the forward pass
BELOW_PADDED = 5  # times less than the padded step


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row, with a frozen and with a trained encoder."""
    if sizes is None:
        sizes = (QUICK,) if setting.quick else (FULL,)
    for size in sizes:
        yield _case(setting, size, "frozen")
        yield _case(setting, size, "trained")


def forward_alone(model: WhisperCTC, batch: tuple[Tensor, ...]) -> Call:
    """The baseline of the frozen encoder."""
    speech, lengths = batch[:2]

    @torch.no_grad()
    def forward() -> tuple[Tensor, Tensor, Tensor]:
        features, frames = model.frontend(speech, lengths)
        hidden, frames, _ = model.encoder(features, frames)
        logits = hidden.new_empty(*hidden.shape[:2], model.ctc.ctc_lo.out_features)
        return hidden, logits, torch.empty_like(logits)

    return forward


def _case(setting: Setting, size: Size, encoder: str) -> Case:
    machine = setting.machine
    batch = tuple(x.to(machine.device) for x in make_batch(size))
    freeze, passes = ("encoder", 1) if encoder == "frozen" else ("none", 3)
    with tempfile.TemporaryDirectory() as folder:
        save_whisper(Path(folder), size)

        def build(*, pad_to_30s: bool = False) -> WhisperCTC:
            model = WhisperCTC(Path(folder), size, pad_to_30s=pad_to_30s, freeze=freeze)
            return model.to(machine.device)

        ours = build()
        ways = {"ours": Step(ours, batch)}
        if encoder == "frozen":
            ways["forward"] = forward_alone(ours, batch)
        else:
            ways["padded"] = Step(build(pad_to_30s=True), batch)

    def check() -> None:
        loss, _ = ways["ours"]()
        assert bool(loss.isfinite()) and loss > 0
        trained = {name for name, p in ours.named_parameters() if p.grad is not None}
        assert any(name.startswith("encoder.whisper.layers") for name in trained) is (
            encoder == "trained"
        )

    def of_forward(measured: Measured) -> bool:
        return measured.peaks["ours"] <= ABOVE_FORWARD * measured.peaks["forward"]

    def of_padded(measured: Measured) -> bool:
        return BELOW_PADDED * measured.peaks["ours"] <= measured.peaks["padded"]

    limit = {
        "frozen": {f"{ABOVE_FORWARD} x the memory of a forward pass": of_forward},
        "trained": {f"1/{BELOW_PADDED} of the padded memory": of_padded},
    }
    return Case(
        row="ctc_memory",
        size=f"{size.batch} x {size.seconds:g} s, encoder {encoder}",
        ways=ways,
        against="forward" if encoder == "frozen" else "padded",
        target=None,
        bound_s=machine.seconds(flops=passes * forward_operations(size)),
        items=size.batch,
        unit="utterances",
        check=check,
        limits=limit[encoder],
    )
