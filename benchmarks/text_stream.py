"""Row ``text_stream``: padded batches of text-only samples out of shards of JSON Lines.

in order: the rows as they come, made samples of by the same preprocessor and padded: what shuffling
a corpus that fits no memory, and going on where it was stopped, may not cost.

One process, one reader; the posterior is simulated as published (``tasu``). Rows are the recipe's,
each repeated under keys of its own. The targets of this row are its limits: rows a second, seconds
to the first batch of ten million rows, growth of resident memory.

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
from itertools import batched, chain, islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Case, Measured, Setting
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.data.preprocessor import PSSLMPreprocessor
from espnet_psslm.data.shards import Shards, find_shards
from espnet_psslm.data.stream import TextStream
from espnet_psslm.data.stream_loader import StreamIterFactory

Batch = tuple[list[str], dict[str, Any]]
MIN_ROWS_S = 8_000.0
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


@dataclass(frozen=True)
class Corpus:
    """Shards of rows that come again and again, and what makes batches of them."""

    paths: list[Path]
    preprocessor: PSSLMPreprocessor
    collate: Callable[[list], Batch]
    rows: list[dict[str, Any]]
    folder: Path  # for the reader's record

    def ours(self, size: Size, epoch: int = 1, num_batches: int | None = None) -> Iterator[Batch]:
        """By the reader of the package."""
        return StreamIterFactory(
            TextStream(Shards(self.paths), batch_size=size.batch, by_length=True),
            preprocessor=self.preprocessor,
            collate=self.collate,
            output_dir=self.folder,
            num_batches=num_batches,
        ).build_iter(epoch)

    def in_order(self, size: Size) -> Iterator[Batch]:
        """As the rows come."""
        lines = chain.from_iterable(map(read_lines, self.paths))
        return map(self.batch, batched(map(json.loads, lines), size.batch))

    def batch(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """A batch of some rows."""
        keys = [row["key"] for row in rows]
        samples = [self.preprocessor(row["key"], {"sample": row}) for row in rows]
        return self.collate(list(zip(keys, samples, strict=True)))


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a shard."""
    with open(path, encoding="utf-8") as stream:
        yield from stream


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
                corpus = Corpus(find_shards(folder), preprocessor, collate, rows, Path(folder))
                yield make_case(corpus, size)


def make_case(corpus: Corpus, size: Size) -> Case:
    """A case of one corpus."""
    num_batches = size.timed // size.batch
    start = time.perf_counter()
    next(corpus.ours(size))
    start_s, growth_mb = time.perf_counter() - start, 0.0

    def run_ours(num_batches: int = num_batches) -> int:
        nonlocal growth_mb
        before, highest, num_rows = resident_mb(), 0.0, 0
        for number, (keys, _) in enumerate(islice(corpus.ours(size), num_batches)):
            if number % PROBED == PROBED - 1:
                highest = max(highest, resident_mb())
            num_rows += len(keys)
        growth_mb = max(growth_mb, highest - before)
        return num_rows

    def run_in_order(num_batches: int = num_batches) -> int:
        return sum(len(keys) for keys, _ in islice(corpus.in_order(size), num_batches))

    def enough_rows(measured: Measured) -> bool:
        return size.timed / measured.times["ours"][1] >= MIN_ROWS_S

    return Case(
        row="text_stream",
        size=f"{size.timed} of {size.rows} rows, batch {size.batch}; start {start_s:.2f} s",
        ways={"ours": run_ours, "in order": run_in_order},
        target=None,
        items=size.timed,
        unit="rows",
        probes={"ours": lambda: run_ours(PROBED), "in order": lambda: run_in_order(PROBED)},
        check=lambda: check(corpus, size),
        limits={
            f"{MIN_ROWS_S:.0f} rows/s": enough_rows,
            f"start within {MAX_START_S:.0f} s": lambda _: start_s <= MAX_START_S,
            f"{MAX_GROWTH_MB:.0f} MB": lambda _: growth_mb <= MAX_GROWTH_MB,
        },
    )


def resident_mb() -> float:
    """Resident memory of this process, in MB."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def check(corpus: Corpus, size: Size) -> None:
    """A streamed batch is that of its rows; a stopped reader goes on with the next row."""
    keys, streamed = next(corpus.ours(size))
    texts = [corpus.rows[int(key.removeprefix("row")) % len(corpus.rows)] for key in keys]
    rows = [text | {"key": key} for key, text in zip(keys, texts, strict=True)]
    _, plain = corpus.batch(rows)
    assert streamed.keys() == plain.keys()
    for name, value in plain.items():
        ours, theirs = (
            x.dense() if name == "given" else torch.as_tensor(x) for x in (streamed[name], value)
        )
        assert torch.equal(ours, theirs), name

    def read(epoch: int) -> list[list[str]]:
        return [keys for keys, _ in corpus.ours(size, epoch, num_batches=3)]

    straight = [keys for keys, _ in islice(corpus.ours(size), 9)]
    assert [*read(1), *read(2), *read(3)] == straight
