"""Row ``dumped_epoch``: the Steps of one epoch, from the dump and from audio.

- dumped: ours: each utterance's Steps are read and padded into batches.
- audio: published and plain alike: audio read, log-mel spectrogram, encoder, reduction.

First without the language model, then the whole epoch of the bridge's training, updates included.
Needs the models, the audio and the dump of a finished recipe.
"""

import contextlib
import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from espnet2.torch_utils.device_funcs import to_device
from torch import Tensor

from benchmarks.measure import Case, Machine, Setting
from benchmarks.text_step import lm_flops
from espnet_psslm.acoustic.model import CTCAcoustic, load_ctc_acoustic
from espnet_psslm.bridge.phone_sync import MergeThenDrop
from espnet_psslm.bridge.steps import PosteriorSteps, collate_steps
from espnet_psslm.bridge.steps_file import StepsWriter, read_steps
from espnet_psslm.data.audio_batches import AudioBatch, AudioBatches
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.data.preprocessor import PSSLMPreprocessor
from espnet_psslm.inference.decoder import PSSLMDecoder
from espnet_psslm.trained import read_config
from espnet_psslm.training.builders import build_collate, with_defaults
from espnet_psslm.training.espnet_model import PSSLMModel

Sample = tuple[str, Mapping[str, Any]]

SMALLER = 40  # times smaller than 16-bit audio the dump is to be
SAME_LOSS = 0.02  # half precision in the dump, half precision in the language model


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
        return self.acoustic.to_steps(speech, lengths, self.reduction, kind=PosteriorSteps)

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
            yield make_training_case(setting, load_training(setting, size))


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


class Training:
    """One epoch of the bridge's training on rows that have a dump and audio.

    Args:
        model: the bridge, with the acoustic model that made the dump.
        readers: what makes samples of rows, by source.
        collate: what makes batches of samples.
        batches: rows of a manifest.
    """

    def __init__(
        self,
        model: PSSLMModel,
        readers: Mapping[str, PSSLMPreprocessor],
        collate: Callable[[Sequence[Sample]], tuple[list[str], dict[str, Any]]],
        batches: Sequence[Sequence[Mapping[str, Any]]],
    ) -> None:
        self.model, self.readers, self.collate, self.batches = model, readers, collate, batches
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        # Rate 0: the cost of an update, and the same weights in every round.
        self.optimizer = torch.optim.AdamW(trained, lr=0.0, weight_decay=0.0, fused=True)

    def epoch(self, source: str) -> list[Tensor]:
        """The loss of each batch."""
        return [self._step(rows, self.readers[source]) for rows in self.batches]

    def _read(
        self, rows: Sequence[Mapping[str, Any]], read: PSSLMPreprocessor
    ) -> tuple[list[str], dict[str, Any]]:
        return self.collate([(row["key"], read(row["key"], {"sample": row})) for row in rows])

    def least_seconds(self, machine: Machine) -> float:
        """The language model's products, forward and backward towards its input."""
        lm, flops = self.model.lm.module, 0.0
        for rows in self.batches:
            _, batch = self._read(rows, self.readers["dump"])
            targets = int(batch["target_ids_lengths"].sum())
            tokens = targets - len(rows)  # the last of each row is only ever predicted
            for name in ("unit_ids_lengths", "before_ids_lengths", "after_ids_lengths"):
                tokens += int(batch[name].sum())
            flops += lm_flops(lm, tokens=tokens, targets=targets)
        return machine.seconds(flops=flops, dtype=lm.dtype)

    def _step(self, rows: Sequence[Mapping[str, Any]], read: PSSLMPreprocessor) -> Tensor:
        utt_ids, batch = self._read(rows, read)
        inputs = to_device(batch, self.model.lm.module.device)
        self.optimizer.zero_grad()
        loss, _, _ = self.model(utt_id=utt_ids, **inputs)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def load_training(setting: Setting, size: Size) -> Training:
    """The text-only bridge of a finished recipe on its dev set."""
    exp = setting.recipe / "exp/psslm_text"
    decoder = PSSLMDecoder(
        exp / "config.yaml",
        exp / "valid.acc.ave.pth",
        device=str(setting.machine.device),
        source="audio",
    )
    from_dump = copy.copy(decoder.preprocessor)
    from_dump.source = "steps"
    rows = list(read_manifest(setting.recipe / "dump/steps/dev/psslm.jsonl").values())
    rows.sort(key=lambda row: len(row["GT"]))
    starts = range(0, len(rows), size.batch)[: size.batches]
    batches = [rows[start : start + size.batch] for start in starts]
    readers = {"audio": decoder.preprocessor, "dump": from_dump}
    collate = build_collate(with_defaults(read_config(exp / "config.yaml")))
    return Training(decoder.model, readers, collate, batches)


def make_training_case(setting: Setting, training: Training) -> Case:
    """A case of one whole epoch; it has no target."""
    count = sum(map(len, training.batches))

    def check() -> None:
        dumped, heard = (torch.stack(training.epoch(source)) for source in ("dump", "audio"))
        torch.testing.assert_close(dumped, heard, rtol=SAME_LOSS, atol=SAME_LOSS)

    return Case(
        row="dumped_epoch",
        size=f"{count} samples, batch {len(training.batches[0])}, whole epoch of training",
        ways={"ours": lambda: training.epoch("dump"), "audio": lambda: training.epoch("audio")},
        against="audio",
        target=None,
        bound_s=training.least_seconds(setting.machine),
        items=count,
        unit="samples",
        check=check,
    )
