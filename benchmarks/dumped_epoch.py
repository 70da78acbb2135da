"""Row ``dumped_epoch``: an epoch of the bridge's training, from dumped Steps and from audio.

audio: read, log-mel spectrogram, encoder, reduction, once more in each epoch.

Needs the models, the audio and the dump of a finished recipe.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from espnet2.torch_utils.device_funcs import to_device
from torch import Tensor

from benchmarks.measure import Case, Setting
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.data.preprocessor import PSSLMPreprocessor
from espnet_psslm.inference.decoder import PSSLMDecoder
from espnet_psslm.trained import read_config
from espnet_psslm.training.builders import build_collate, with_defaults
from espnet_psslm.training.espnet_model import PSSLMModel

Sample = tuple[str, Mapping[str, Any]]

SAME_LOSS = 0.02  # half precision in the dump, half precision in the language model


@dataclass(frozen=True)
class Size:
    """One size of the row."""

    batches: int | None = None  # None: all
    batch: int = 16


FULL = Size()
QUICK = Size(batches=2)


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row; paths of a recipe start at its folder."""
    if sizes is None:
        sizes = (QUICK,) if setting.quick else (FULL,)
    with contextlib.chdir(setting.recipe):
        for size in sizes:
            yield make_case(load_training(setting, size))


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

    def _step(self, rows: Sequence[Mapping[str, Any]], read: PSSLMPreprocessor) -> Tensor:
        samples = [(row["key"], read(row["key"], {"sample": row})) for row in rows]
        utt_ids, batch = self.collate(samples)
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
        device=str(setting.device),
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


def make_case(training: Training) -> Case:
    """A case of one whole epoch; it has no target."""
    count = sum(map(len, training.batches))

    def check() -> None:
        dumped, heard = (torch.stack(training.epoch(source)) for source in ("dump", "audio"))
        torch.testing.assert_close(dumped, heard, rtol=SAME_LOSS, atol=SAME_LOSS)

    return Case(
        row="dumped_epoch",
        size=f"{count} samples, batch {len(training.batches[0])}, whole epoch of training",
        ways={"ours": lambda: training.epoch("dump"), "audio": lambda: training.epoch("audio")},
        target=None,
        items=count,
        unit="samples",
        check=check,
    )
