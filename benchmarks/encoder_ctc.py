"""Row ``encoder_ctc``: features to CTC log posteriors, without gradients.

padded: the features of 30 seconds, as Whisper was trained. See
``ctc_step``, whose model this is.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.ctc_step import Size, WhisperCTC, make_batch, save_whisper
from benchmarks.measure import Call, Case, Setting

FULL = Size(8, 4.0, target=10.0)
QUICK = Size(2, 4.0)


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row."""
    if sizes is None:
        sizes = (QUICK,) if setting.quick else (FULL,)
    for size in sizes:
        yield _case(setting, size)


def _way(model: WhisperCTC, speech: Tensor, lengths: Tensor) -> Call:
    features, lengths = model.frontend(speech, lengths)

    @torch.no_grad()
    def log_posterior() -> tuple[Tensor, Tensor]:
        hidden, frames, _ = model.encoder(features, lengths)
        return model.ctc.log_softmax(hidden), frames

    return log_posterior


def _case(setting: Setting, size: Size) -> Case:
    speech, lengths = (x.to(setting.device) for x in make_batch(size)[:2])
    with tempfile.TemporaryDirectory() as folder:
        save_whisper(Path(folder), size)
        models = {
            name: WhisperCTC(Path(folder), size, pad_to_30s=name == "padded").to(setting.device)
            for name in ("ours", "padded")
        }
    ways = {name: _way(model.eval(), speech, lengths) for name, model in models.items()}

    def check() -> None:
        (ours, frames), (padded, padded_frames) = (way() for way in ways.values())
        assert torch.equal(frames, padded_frames)
        assert ours.shape == padded.shape and ours.shape[1] == int(frames.max())
        assert bool(ours.isfinite().all()) and bool(padded.isfinite().all())

    return Case(
        row="encoder_ctc",
        size=f"{size.batch} x {size.seconds:g} s, {size.layers} layers of {size.width}",
        ways=ways,
        target=size.target,
        items=size.batch,
        unit="utterances",
        check=check,
    )
