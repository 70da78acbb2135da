"""From a text stream to the trainer: parsed, tokenised, simulated and padded batches.

ESPnet resumes at the epoch behind its last checkpoint. An epoch of a stream is
``num_iters_per_epoch`` batches, or one pass over the corpus; where each epoch ended is kept in
``text_stream.json`` beside the checkpoints, so that the next begins with the very next row.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from espnet2.iterators.abs_iter_factory import AbsIterFactory
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from espnet_psslm.atomic import atomic_file
from espnet_psslm.data.collate import Sample
from espnet_psslm.data.manifest import Problem, Row, parse_line
from espnet_psslm.data.preprocessor import PSSLMPreprocessor
from espnet_psslm.data.stream import START, Group, Position, TextStream

STATE_FILE = "text_stream.json"
ROWS_AHEAD = 2048  # simulated in one call, where that is far faster
LENGTHS = ("before_ids_lengths", "after_ids_lengths", "target_ids_lengths")
Batch = tuple[list[str], dict[str, Any]]
Task = tuple[Position, Group, list[int]]  # position behind a batch, and a process's rows of it


class StreamIterFactory(AbsIterFactory):
    """Batches of each epoch of a training.

    Args:
        stream: the sequence of batches.
        preprocessor: from rows to arrays.
        collate: from arrays to a batch.
        output_dir: of the training.
        num_batches: of an epoch; None: an epoch is a pass.
        num_workers: data workers; the batches do not depend on their number.
        rank: of this process.
        world_size: number of processes; row i of a batch goes to process i modulo that.
        pin_memory: as DataLoader's.
    """

    def __init__(
        self,
        stream: TextStream,
        *,
        preprocessor: PSSLMPreprocessor,
        collate: Callable[[Sequence], Batch],
        output_dir: str | Path,
        num_batches: int | None = None,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> None:
        self.stream = stream
        self.reader = RowReader(stream, preprocessor)
        self.collate = collate
        self.num_batches = num_batches
        self.num_workers = num_workers
        self.rank, self.world_size = rank, world_size
        self.pin_memory = pin_memory
        self.state = StreamState(Path(output_dir) / STATE_FILE, stream, num_batches)

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> Iterator[Batch]:
        """Batches of an epoch, counted from 1."""
        dataset = StreamDataset(self, self.state.start(epoch))
        loader = DataLoader(
            dataset,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
        )
        return self._deliver(epoch, loader)

    def _deliver(self, epoch: int, loader: DataLoader) -> Iterator[Batch]:
        end, num_rows, filled, held = START, 0, 0, 0
        for position, batch in loader:
            end = position
            if isinstance(batch, ValueError):
                raise batch
            lengths: Tensor = sum((batch[1][name] for name in LENGTHS), batch[1]["given"].lengths)
            filled += int(lengths.sum())
            held += len(lengths) * int(lengths.max())
            num_rows += len(lengths)
            yield batch
        self.state.note(epoch, end, write=self.rank == 0)
        logging.info(
            "epoch %d: %d rows in this process, %.1f %% of the positions were padding; next: "
            "pass %d, group %d of %d, batch %d",
            epoch, num_rows, 100 * (1 - filled / max(1, held)), end.pass_, end.group,
            self.stream.num_groups, end.batch,
        )  # fmt: skip


class RowReader:
    """Samples of the rows of a stream.

    Args:
        stream: where they come from.
        preprocessor: what makes samples of them.
    """

    def __init__(self, stream: TextStream, preprocessor: PSSLMPreprocessor) -> None:
        self.stream = stream
        self.preprocessor = preprocessor
        self.tasks = preprocessor.prompts.tasks

    def samples(self, tasks: list[Task]) -> Iterator[list[tuple[str, Sample]]]:
        """Samples of some batches, batch by batch.

        Raises:
            ValueError: naming file and line, if a row cannot be used.
        """
        batches = [
            [(self._parse(group, row), group, row) for row in rows] for _, group, rows in tasks
        ]
        if self.preprocessor.writes_ahead:
            self.preprocessor.write_ahead([row for batch in batches for row, *_ in batch])
        for batch in batches:
            yield [self._sample(*row) for row in batch]

    def _sample(self, parsed: Row, group: Group, row: int) -> tuple[str, Sample]:
        key = parsed["key"]
        try:
            return key, self.preprocessor(key, {"sample": parsed})
        except ValueError as error:
            raise self._problem(
                group, row, key, str(error), "correct the row or remove it"
            ) from error

    def _parse(self, group: Group, row: int) -> Row:
        parsed, fault = parse_line(group.lines[row], tasks=self.tasks)
        if fault is None and (source := self.preprocessor.source_of(parsed)) != "text":
            fault = (
                f"key {parsed['key']!r} has {source}, and streamed rows are text only",
                "set --source text, or give such rows as a manifest (psslm_jsonl)",
            )
        if fault is None and "GT" not in parsed:
            fault = f"key {parsed['key']!r} has no 'GT'", "add 'GT', the transcript"
        if fault is not None:
            raise self._problem(group, row, parsed.get("key", ""), *fault)
        return parsed

    def _problem(self, group: Group, row: int, key: str, reason: str, fix: str) -> ValueError:
        path, line = self.stream.shards.line_number(*group.places[row])
        return ValueError(str(Problem(str(path), line, str(key), reason, fix)))


class StreamDataset(IterableDataset):
    """The batches of one epoch that this data worker makes, each with the position behind it.

    Args:
        factory: what is read, and for whom.
        start: the epoch's first batch.
    """

    def __init__(self, factory: StreamIterFactory, start: Position) -> None:
        super().__init__()
        self.factory = factory
        self.start = start

    def __iter__(self) -> Iterator[tuple[Position, Batch | ValueError]]:
        try:
            waiting: list[Task] = []
            enough = ROWS_AHEAD if self.factory.reader.preprocessor.writes_ahead else 1
            for task in self._tasks():
                waiting.append(task)
                if sum(len(rows) for *_, rows in waiting) >= enough:
                    yield from self._make(waiting)
                    waiting = []
            yield from self._make(waiting)
        except ValueError as error:  # a data worker would wrap it into its traceback
            yield self.start, error

    def _make(self, tasks: list[Task]) -> Iterator[tuple[Position, Batch]]:
        batches = self.factory.reader.samples(tasks)
        for (position, *_), samples in zip(tasks, batches, strict=True):
            if heard := self._heard(samples):
                yield position, self.factory.collate(heard)

    def _heard(self, samples: list[tuple[str, Sample]]) -> list[tuple[str, Sample]]:
        """The samples that have a unit; the others are named and left out."""
        heard = [(key, sample) for key, sample in samples if len(sample["unit_ids"])]
        if len(heard) == len(samples):
            return heard
        keys = [key for key, sample in samples if not len(sample["unit_ids"])]
        if not heard and self.factory.world_size > 1:
            raise ValueError(
                f"a batch has no unit of the vocabulary in its transcripts ({keys[0]}, ...), and "
                "other processes wait for it: remove such rows, or raise --batch_size"
            )
        logging.warning(
            "%d rows are left out: no unit of the vocabulary is in their transcripts: %s",
            len(keys), ", ".join(keys),
        )  # fmt: skip
        return heard

    def _tasks(self) -> Iterator[Task]:
        """This process's part of every W-th batch, W data workers."""
        rank, world_size = self.factory.rank, self.factory.world_size
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for position, group, batch in islice(self._all(), first, None, step):
            if len(batch) < world_size:
                raise ValueError(
                    f"a batch of {len(batch)} rows for {world_size} processes: raise --batch_size "
                    "or stream_conf.buffer_mb, or use fewer processes"
                )
            yield position, group, batch[rank::world_size].tolist()

    def _all(self) -> Iterator[tuple[Position, Group, Any]]:
        """Every batch of the epoch."""
        num_batches = self.factory.num_batches
        passes = 1 if num_batches is None else None
        yield from islice(self.factory.stream.follow(self.start, passes=passes), num_batches)


class StreamState:
    """Where each epoch ended.

    Args:
        path: the file that is kept.
        stream: the sequence of batches.
        num_batches: of an epoch; None: a pass.
    """

    def __init__(self, path: Path, stream: TextStream, num_batches: int | None) -> None:
        self.path = path
        self.stream = stream
        self.num_batches = num_batches
        self.fingerprint = stream.fingerprint()
        self.ends: dict[int, Position] = {0: START}
        self.other = False  # the file speaks of another sequence
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            self.other = found["stream"] != self.fingerprint
            if not self.other:
                ends = {int(epoch): Position(*end) for epoch, end in found["ends"].items()}
                self.ends = ends | self.ends

    def start(self, epoch: int) -> Position:
        """First batch of an epoch.

        Raises:
            ValueError: if training resumes on other shards or in another order than it began.
        """
        if self.num_batches is None:
            return Position(epoch - 1, 0, 0)
        if epoch > 1 and self.other:
            raise ValueError(
                f"epoch {epoch} cannot go on where the last one ended: the shards, their sizes, "
                "--batch_size, --batch_type, --seed or --stream_conf are not those that training "
                f"began with; restore them, or remove {self.path} to go on at the same number of "
                "batches in the new order, where rows may come again"
            )
        known = max(earlier for earlier in self.ends if earlier < epoch)
        if known == epoch - 1:
            return self.ends[known]
        logging.warning(
            "%s does not say where epoch %d ended: counting its rows", self.path, epoch - 1
        )
        return self.stream.skip(self.ends[known], (epoch - 1 - known) * self.num_batches)

    def note(self, epoch: int, end: Position, *, write: bool) -> None:
        """Keep where an epoch ended."""
        if epoch == 1:
            self.other = False  # training began anew
        self.ends[epoch] = end
        if write:
            text = json.dumps({"stream": self.fingerprint, "ends": self.ends}, indent=1)
            with atomic_file(self.path) as stream:
                stream.write(text.encode() + b"\n")


def _as_it_is(item: object) -> object:
    return item
