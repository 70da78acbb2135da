"""Row ``dumped_epoch``: the Steps of one epoch, from the dump and from audio; no language model.

- dumped: ours: each utterance's Steps are read and padded into batches.
- audio: published and plain alike: audio read, log-mel spectrogram, encoder, reduction.

Needs the CTC model and the audio of a finished recipe.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measure import Case, Setting
from espnet_psslm.acoustic.model import CTCAcoustic, load_ctc_acoustic
from espnet_psslm.bridge.hear import hear_posteriors
from espnet_psslm.bridge.phone_sync import MergeThenDrop
from espnet_psslm.bridge.steps import PosteriorSteps, collate_steps
from espnet_psslm.bridge.steps_file import StepsWriter, read_steps
from espnet_psslm.data.audio_batches import AudioBatch, AudioBatches

SMALLER = 40  # times smaller than 16-bit audio the dump is to be


@dataclass(frozen=True)
class Size:
    """One size of the row."""

    batches: int | None = None  # None: all
    batch: int = 16
    listed: int = 16
    target: float | None = None


FULL = Size(target=10.0)
QUICK = Size(batches=2)


class Epoch:
    """The two ways of making the Steps of an epoch.

    Args:
        acoustic: the CTC model.
        audio: what is heard.
        size: of the row.
        ark: where the Steps are dumped.
    """

    def __init__(self, acoustic: CTCAcoustic, audio: AudioBatches, size: Size, ark: Path) -> None:
        self.acoustic = acoustic
        self.audio = audio
        self.audio.batches = audio.batches[: size.batches]
        self.reduction = MergeThenDrop(
            blank_id=acoustic.blank_id, blank_threshold=0.5, max_units=size.listed
        )
        self.samples = 0
        with StepsWriter(ark) as writer:
            for batch in self.audio:
                writer.write_batch(batch.utt_ids, self.hear(batch))
                self.samples += int(batch.speech_lengths.sum())
        self.locations = writer.locations

    def hear(self, batch: AudioBatch) -> PosteriorSteps:
        """The Steps of one batch of waveforms."""
        device = self.acoustic.device
        speech, lengths = batch.speech.to(device), batch.speech_lengths.to(device)
        return hear_posteriors(self.acoustic, self.reduction, speech, lengths)

    def from_audio(self) -> list[PosteriorSteps]:
        """Every batch, heard."""
        return [self.hear(batch) for batch in self.audio]

    def from_dump(self) -> list[PosteriorSteps]:
        """Every batch, read."""
        return [self._read(utt_ids) for utt_ids in self.audio.batches]

    def _read(self, utt_ids: list[str]) -> PosteriorSteps:
        num_units = self.acoustic.num_units
        rows = [read_steps(self.locations[utt_id])[:2] for utt_id in utt_ids]
        steps = PosteriorSteps(*collate_steps(rows, num_units=num_units), num_units)
        return steps.to(self.acoustic.device)


def assert_same_steps(read: PosteriorSteps, heard: PosteriorSteps) -> None:
    """The same units; probabilities as exact as half precision."""
    assert torch.equal(read.lengths, heard.lengths)
    valid: Tensor = heard.mask
    assert torch.equal(read.unit_ids[valid], heard.unit_ids[valid])
    torch.testing.assert_close(read.probs[valid], heard.probs[valid], rtol=1e-3, atol=1e-6)


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row; paths of a recipe start at its folder."""
    if sizes is None:
        sizes = (QUICK,) if setting.quick else (FULL,)
    with contextlib.chdir(setting.recipe), tempfile.TemporaryDirectory() as folder:
        exp = setting.recipe / "exp/ctc"
        acoustic = load_ctc_acoustic(
            exp / "config.yaml", exp / "valid.loss.ave.pth", setting.machine.device
        )
        for size in sizes:
            audio = AudioBatches(setting.recipe / "dump/raw/test", batch_size=size.batch)
            ark = Path(folder) / "steps.ark"
            yield make_case(setting, Epoch(acoustic, audio, size, ark), size)


def make_case(setting: Setting, epoch: Epoch, size: Size) -> Case:
    """A case of one epoch."""

    def check() -> None:
        for read, heard in zip(epoch.from_dump(), epoch.from_audio(), strict=True):
            assert_same_steps(read, heard)

    ark = Path(next(iter(epoch.locations.values())).rpartition(":")[0])
    num_bytes, count = ark.stat().st_size, len(epoch.locations)
    small = num_bytes * SMALLER <= 2 * epoch.samples
    return Case(
        row="dumped_epoch",
        size=f"{count} utterances, batch {size.batch}, K {size.listed}",
        ways={"ours": epoch.from_dump, "audio": epoch.from_audio},
        against="audio",
        target=size.target,
        bound_s=setting.machine.seconds(moved=num_bytes),  # read once
        items=count,
        unit="utterances",
        check=check,
        limits={f"1/{SMALLER} of the audio's size": lambda _: small},
    )
