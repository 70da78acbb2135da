"""Row ``ctc_step``: a training step of Whisper-CTC, from waveforms to updated weights.

padded: every utterance is filled up to 30 seconds, as Whisper was trained, and attends to that
silence. So its outputs are not ours; what is checked is that both have
the same frames and a finite loss. (Ours against single utterances: tests/equivalence.)

Legend: B batch, N samples, T frames of 20 ms.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.measure import Case, Setting
from espnet_psslm.acoustic.log_mel import WhisperLogMel
from espnet_psslm.acoustic.whisper import HFSpeechEncoder
from espnet_psslm.common.audio import SAMPLE_RATE

LESS_MEMORY = 5  # than the padded step
STRIDE = 3  # of the convolution behind the encoder, as in the mini recipe


@dataclass(frozen=True)
class Size:
    """One size of the row; width, layers and heads are tiny.en's."""

    batch: int
    seconds: float
    num_units: int = 500
    spoken: int = 12  # units per utterance
    width: int = 384
    layers: int = 4
    heads: int = 6
    target: float | None = None


FULL = Size(16, 4.0, target=8.0)
QUICK = Size(2, 4.0)


def save_whisper(folder: Path, size: Size) -> Path:
    """A random Whisper of the given size, as ``from_pretrained`` wants it."""
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(
        vocab_size=64,
        num_mel_bins=80,
        d_model=size.width,
        encoder_layers=size.layers,
        encoder_attention_heads=size.heads,
        encoder_ffn_dim=4 * size.width,
        decoder_layers=1,
        decoder_attention_heads=size.heads,
        decoder_ffn_dim=size.width,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    torch.manual_seed(0)
    WhisperModel(config).save_pretrained(folder)
    return folder


class WhisperCTC(nn.Module):
    """Frontend, encoder and CTC layer; see ``acoustic``."""

    def __init__(self, folder: Path, size: Size, *, pad_to_30s: bool) -> None:
        from espnet2.asr.ctc import CTC

        super().__init__()
        self.frontend = WhisperLogMel(num_mels=80, pad_to_30s=pad_to_30s)
        self.encoder = HFSpeechEncoder(
            80, str(folder), "none", conv_kernel=3, conv_stride=STRIDE, pad_to_30s=pad_to_30s
        )
        self.ctc = CTC(odim=size.num_units, encoder_output_size=size.width)

    def forward(
        self, speech: Tensor, speech_lengths: Tensor, units: Tensor, unit_lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss and frames per utterance."""
        features, lengths = self.frontend(speech, speech_lengths)
        hidden, lengths, _ = self.encoder(features, lengths)
        return self.ctc(hidden, lengths, units, unit_lengths), lengths


class Step:
    """Forward, backward and update."""

    def __init__(self, model: WhisperCTC, batch: tuple[Tensor, ...]) -> None:
        self.model = model.train()
        self.batch = batch
        # Rate 0: the cost of an update, and the same weights in every round.
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Loss and frames per utterance."""
        self.optimizer.zero_grad()
        loss, lengths = self.model(*self.batch)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), lengths


def make_batch(size: Size) -> tuple[Tensor, ...]:
    """Noise and random units."""
    generator = torch.Generator().manual_seed(0)
    samples = int(size.seconds * SAMPLE_RATE)
    return (
        0.1 * torch.randn(size.batch, samples, generator=generator),
        torch.full((size.batch,), samples),
        torch.randint(1, size.num_units, (size.batch, size.spoken), generator=generator),
        torch.full((size.batch,), size.spoken),
    )


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row."""
    if sizes is None:
        sizes = (QUICK,) if setting.quick else (FULL,)
    for size in sizes:
        yield _case(setting, size)


def _case(setting: Setting, size: Size) -> Case:
    batch = tuple(x.to(setting.device) for x in make_batch(size))
    with tempfile.TemporaryDirectory() as folder:
        save_whisper(Path(folder), size)
        models = {
            name: WhisperCTC(Path(folder), size, pad_to_30s=name == "padded").to(setting.device)
            for name in ("ours", "padded")
        }
    ways = {name: Step(model, batch) for name, model in models.items()}

    def check() -> None:
        results = [way() for way in ways.values()]
        assert torch.equal(results[0][1], results[1][1])
        assert all(bool(loss.isfinite()) and loss > 0 for loss, _ in results)

    return Case(
        row="ctc_step",
        size=f"{size.batch} x {size.seconds:g} s, {size.layers} layers of {size.width}",
        ways=ways,
        target=size.target,
        items=size.batch,
        unit="utterances",
        check=check,
        limits={
            f"1/{LESS_MEMORY} of the memory": lambda m: (
                LESS_MEMORY * m.peaks["ours"] <= m.peaks["padded"]
            )
        },
    )
