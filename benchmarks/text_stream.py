"""Row ``text_stream``: padded batches of text-only samples out of shards of JSON Lines.

- ours: blocks of bytes, shuffled; parsed, tokenised many rows at a time, simulated, padded.
- plain: what a good engineer writes first: an iterable dataset that reads the shards in order,
  ``json.loads`` and one call of tokenizer and vocabulary a row, a DataLoader that pads.

Both in one process with one reader; samples are the same, their order is not. The posterior is
simulated as published (``tasu``). Rows are the recipe's, each repeated under keys of its own. The
targets of this row are its limits: rows a second, seconds to the first batch of ten million rows,
growth of resident memory, and that a stopped reader goes on with the next row.

Needs tokenizer, units and text of a finished recipe.
"""

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from benchmarks.measure import Case, Measured, Setting
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.data.preprocessor import PSSLMPreprocessor
from espnet_psslm.data.shards import Shards, find_shards
from espnet_psslm.data.stream import TextStream
from espnet_psslm.data.stream_loader import StreamIterFactory

Batch = tuple[list[str], dict[str, Any]]
MIN_ROWS_S = 20_000.0
MAX_START_S = 5.0
MAX_GROWTH_MB = 300.0
SHARD_ROWS = 250_000
PROBED = 32  # batches whose memory is measured
FIELDS = ("task", "target", "GT")


@dataclass(frozen=True)
class Size:
    """One size of the row."""

    rows: int
    timed: int  # rows that each way makes samples of
    batch: int = 64


FULL = Size(10_000_000, timed=65_536)
QUICK = Size(200_000, timed=16_384)


def write_shards(folder: Path, rows: Sequence[dict[str, Any]], num_rows: int) -> None:
    """Write rows over and over, each time under new keys."""
    tails = [json.dumps({name: row[name] for name in FIELDS})[1:].encode() for row in rows]
    for first in range(0, num_rows, SHARD_ROWS):
        with open(folder / f"{first // SHARD_ROWS:05d}.jsonl", "wb") as stream:
            last = min(first + SHARD_ROWS, num_rows)
            stream.writelines(
                b'{"key": "row%d", %s\n' % (i, tails[i % len(tails)]) for i in range(first, last)
            )


class PlainReader(IterableDataset):
    """Rows of the shards in order, each made a sample by itself."""

    def __init__(self, paths: Sequence[Path], preprocessor: PSSLMPreprocessor) -> None:
        super().__init__()
        self.paths = paths
        self.preprocessor = preprocessor

    def __iter__(self) -> Iterator[tuple[str, dict]]:
        for path in self.paths:
            with open(path, encoding="utf-8") as stream:
                for line in stream:
                    row = json.loads(line)
                    yield row["key"], self.preprocessor(row["key"], {"sample": row})


@dataclass(frozen=True)
class Corpus:
    """Shards, and what makes batches of them."""

    paths: list[Path]
    preprocessor: PSSLMPreprocessor
    collate: Callable[[list], Batch]

    def ours(self, size: Size, output_dir: Path, *, num_batches: int | None = None) -> Any:
        """The reader of the package."""
        stream = TextStream(Shards(self.paths), batch_size=size.batch, by_length=True)
        return StreamIterFactory(
            stream,
            preprocessor=self.preprocessor,
            collate=self.collate,
            output_dir=output_dir,
            num_batches=num_batches,
        )

    def plain(self, size: Size) -> DataLoader:
        """The plain reader."""
        reader = PlainReader(self.paths, self.preprocessor)
        return DataLoader(reader, batch_size=size.batch, collate_fn=self.collate)


def read_recipe() -> tuple[PSSLMPreprocessor, Callable[[list], Batch], list[dict[str, Any]]]:
    """Preprocessor, collate function and text of the recipe in the working folder."""
    from espnet_psslm.tasks.psslm import PSSLMTask
    from espnet_psslm.trained import read_config

    config = read_config("exp/psslm_text/config.yaml")
    config |= {"source": "text", "simulator": "tasu", "simulator_conf": {}}
    args = argparse.Namespace(**config)
    rows = read_manifest(args.train_data_path_and_name_and_type[0][0])
    texts = [row for row in rows.values() if "GT" in row]
    return (
        PSSLMTask.build_preprocess_fn(args, train=True),
        PSSLMTask.build_collate_fn(args, train=True),
        texts,
    )


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row; paths of a recipe start at its folder."""
    if sizes is None:
        sizes = (QUICK,) if setting.quick else (FULL,)
    with contextlib.chdir(setting.recipe):
        preprocessor, collate, rows = read_recipe()
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                write_shards(Path(folder), rows, size.rows)
                corpus = Corpus(find_shards(folder), preprocessor, collate)
                yield make_case(setting, corpus, size, Path(folder))


def make_case(setting: Setting, corpus: Corpus, size: Size, folder: Path) -> Case:
    """A case of one corpus; ``folder`` is for the reader's record."""
    num_batches = size.timed // size.batch

    def run_plain(num_batches: int = num_batches) -> int:
        return sum(len(keys) for keys, _ in islice(corpus.plain(size), num_batches))

    start_s, growth_mb = measure_start(corpus, size, folder), 0.0

    def run_ours(num_batches: int = num_batches) -> int:
        nonlocal growth_mb
        before, highest, num_rows = resident_mb(), 0.0, 0
        for keys, _ in islice(corpus.ours(size, folder).build_iter(1), num_batches):
            highest = max(highest, resident_mb())
            num_rows += len(keys)
        growth_mb = max(growth_mb, highest - before)
        return num_rows

    def enough_rows(measured: Measured) -> bool:
        return size.timed / measured.times["ours"][1] >= MIN_ROWS_S

    num_bytes = sum(path.stat().st_size for path in corpus.paths) / size.rows * size.timed
    return Case(
        row="text_stream",
        size=f"{size.timed} of {size.rows} rows, batch {size.batch}; start {start_s:.2f} s",
        ways={"ours": run_ours, "plain": run_plain},
        against="plain",
        target=1.0,
        bound_s=setting.machine.seconds(moved=num_bytes),  # read once
        items=size.timed,
        unit="rows",
        probes={"ours": lambda: run_ours(PROBED), "plain": lambda: run_plain(PROBED)},
        check=lambda: check(corpus, size, folder),
        limits={
            f"{MIN_ROWS_S:.0f} rows/s": enough_rows,
            f"start within {MAX_START_S:.0f} s": lambda _: start_s <= MAX_START_S,
            f"{MAX_GROWTH_MB:.0f} MB": lambda _: growth_mb <= MAX_GROWTH_MB,
        },
    )


def measure_start(corpus: Corpus, size: Size, folder: Path) -> float:
    """Seconds from the files' names to the first batch."""
    start = time.perf_counter()
    next(corpus.ours(size, folder).build_iter(1))
    return time.perf_counter() - start


def resident_mb() -> float:
    """Resident memory of this process, in MB."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def check(corpus: Corpus, size: Size, folder: Path) -> None:
    """The first rows become the same samples; a stopped reader goes on with the next row."""
    import numpy as np

    keys, _ = next(iter(corpus.plain(size)))
    with open(corpus.paths[0], encoding="utf-8") as stream:
        rows = [json.loads(line) for line in islice(stream, len(keys))]
    assert [row["key"] for row in rows] == keys
    for row, (key, ours) in zip(rows, corpus.preprocessor.many_texts(rows), strict=True):
        plain = corpus.preprocessor(key, {"sample": row})
        assert ours.keys() == plain.keys()
        assert all(np.array_equal(ours[name], plain[name]) for name in plain)

    def read(epoch: int) -> list[list[str]]:
        return [keys for keys, _ in corpus.ours(size, folder, num_batches=3).build_iter(epoch)]

    straight = [keys for keys, _ in islice(corpus.ours(size, folder).build_iter(1), 9)]
    assert [*read(1), *read(2), *read(3)] == straight
