"""Streams: the rows of a manifest, each once a pass, in batches that nobody's number changes."""

import json
import logging

import numpy as np
import pytest
import torch

from espnet_psslm.bridge.simulate import TASUSimulator
from espnet_psslm.data.collate import StepsCollate
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.data.preprocessor import PSSLMPreprocessor
from espnet_psslm.data.shards import Shards
from espnet_psslm.data.stream import START, Position, TextStream
from espnet_psslm.data.stream_loader import STATE_FILE, StreamIterFactory
from tests.helpers import SENTENCES, write_jsonl

BATCH = 4
NUM_ROWS = 57


def make_rows(num_rows=NUM_ROWS):
    """Sentences of many lengths, one of which the vocabulary cannot write; three tasks."""
    rows = []
    for i in range(num_rows):
        text = " ".join(SENTENCES[i % 8].split()[: 1 + i % 7]) + (" \u4f60\u597d" if i == 5 else "")
        task = ("ASR", "SLU_scenario", "hotword")[i % 3]
        row = {"key": f"row{i}", "task": task, "target": f"{text} <|im_end|>", "GT": text}
        rows.append(row | ({"hotword": "paris"} if task == "hotword" else {}))
    return rows


def preprocessor(parts, **options):
    simulator = TASUSimulator(parts["units"].num_units, blank_id=0, insert_prob=0.1)
    return PSSLMPreprocessor(True, **parts, **{"simulator": simulator, "seed": 5} | options)


@pytest.fixture
def corpus(tmp_path):
    """Three shards, the second without a row, the third without a last line end."""
    rows = make_rows()
    first = write_jsonl(tmp_path / "a.jsonl", rows[:20])
    empty = write_jsonl(tmp_path / "b.jsonl", [])
    last = write_jsonl(tmp_path / "c.jsonl", rows[20:])
    last.write_bytes(last.read_bytes().rstrip(b"\n"))
    return [first, empty, last]


@pytest.fixture
def build(corpus, parts, tmp_path):
    """A factory whose buffer holds two of its blocks, so that a pass has many groups."""

    def build(*, paths=corpus, by_length=True, block_bytes=512, seed=3, output=None, **options):
        stream = TextStream(
            Shards(paths, block_bytes=block_bytes),
            batch_size=BATCH,
            by_length=by_length,
            buffer_mb=2 * block_bytes / 1e6,
            seed=seed,
        )
        return StreamIterFactory(
            stream,
            preprocessor=preprocessor(parts),
            collate=StepsCollate(num_units=parts["units"].num_units, pad_id=parts["end_id"]),
            output_dir=tmp_path if output is None else output,
            **options,
        )

    return build


def keys_of(factory, epoch=1):
    return [keys for keys, _ in factory.build_iter(epoch)]


def flat(batches):
    return [key for batch in batches for key in batch]


def test_samples_are_those_of_the_manifest(parts, corpus, build, tmp_path):
    """Same rows, same ids, same draws as the ordinary dataset."""
    whole = tmp_path / "whole.jsonl"
    whole.write_bytes(b"".join(path.read_bytes() for path in corpus))
    rows = read_manifest(whole)
    assert len(rows) == NUM_ROWS
    plain, ours = preprocessor(parts), build()
    plain.epoch = ours.reader.preprocessor.epoch = 2
    tasks = [
        (end, group, rows.tolist()) for end, group, rows in ours.stream.follow(START, passes=1)
    ]
    seen = dict(sample for batch in ours.reader.samples(tasks) for sample in batch)
    assert seen.keys() == rows.keys()
    for key, row in rows.items():
        expected = plain(key, {"sample": row})
        assert seen[key].keys() == expected.keys()
        for name, values in expected.items():
            assert seen[key][name].dtype == values.dtype
            assert np.array_equal(seen[key][name], values), (key, name)


@pytest.mark.parametrize("by_length", [True, False])
def test_a_pass_has_every_row_once(build, by_length):
    factory = build(by_length=by_length)
    assert factory.stream.num_groups > 3
    passes = [keys_of(factory, epoch) for epoch in (1, 2)]
    for batches in passes:
        assert sorted(flat(batches)) == sorted(row["key"] for row in make_rows())
        # A group's rows are spread evenly: none is a rest.
        assert all(BATCH <= len(batch) < 2 * BATCH for batch in batches)
    assert flat(passes[0]) != flat(passes[1])
    assert flat(passes[0]) != [row["key"] for row in make_rows()]


def test_order_depends_on_the_seed_alone(build):
    assert keys_of(build()) == keys_of(build())
    assert keys_of(build()) != keys_of(build(seed=4))


def test_batches_by_length_hold_less_padding(build, caplog):
    shares = []
    for by_length in (True, False):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            list(build(by_length=by_length, block_bytes=4096).build_iter(1))
        shares.append(float(caplog.messages[-1].split("process, ")[1].split(" %")[0]))
    assert 0.0 < shares[0] < 0.7 * shares[1]


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_processes_share_each_batch(build, world_size):
    alone = keys_of(build(num_batches=5))
    ranks = range(world_size)
    parts = [keys_of(build(rank=r, world_size=world_size, num_batches=5)) for r in ranks]
    for batch, *shares in zip(alone, *parts, strict=True):
        assert shares == [batch[rank::world_size] for rank in ranks]


@pytest.mark.parametrize("num_batches", [None, 7])
def test_data_workers_change_nothing(build, num_batches):
    alone = list(build(num_batches=num_batches).build_iter(1))
    shared = list(build(num_batches=num_batches, num_workers=2).build_iter(1))
    assert [keys for keys, _ in alone] == [keys for keys, _ in shared]
    for (_, one), (_, other) in zip(alone, shared, strict=True):
        assert one.keys() == other.keys()
        assert torch.equal(one["target_ids"], other["target_ids"])
        assert torch.equal(one["given"].probs, other["given"].probs)


@pytest.mark.parametrize("lost", [False, True])
def test_stopped_training_goes_on_at_the_next_row(build, tmp_path, lost):
    """Epochs of five batches, over more than two passes; also where their ends are forgotten."""
    (tmp_path / "straight").mkdir()
    straight = build(num_batches=5, output=tmp_path / "straight")
    whole = [keys_of(straight, epoch) for epoch in range(1, 8)]
    assert len(flat(whole)) == 35 and len(flat(flat(whole))) > 2 * NUM_ROWS
    first_pass = flat(flat(whole))[:NUM_ROWS]
    assert len(set(first_pass)) == NUM_ROWS
    for epoch in range(1, 7):
        assert keys_of(build(num_batches=5), epoch) == whole[epoch - 1]
    if lost:
        (tmp_path / STATE_FILE).unlink()
    assert keys_of(build(num_batches=5), 7) == whole[6]
    halves = [keys_of(build(num_batches=5, rank=rank, world_size=2), 7) for rank in (0, 1)]
    for batch, one, other in zip(whole[6], *halves, strict=True):
        assert sorted(one + other) == sorted(batch)


def test_skipping_is_walking(build):
    stream = build().stream
    behind = [position for position, *_ in stream.follow(START, passes=2)]
    assert behind[-1] == Position(2, 0, 0)
    for number, position in enumerate(behind, 1):
        assert stream.skip(START, number) == position
        assert stream.skip(behind[2], number) == stream.skip(START, number + 3)


def test_other_shards_are_not_gone_on_with(build, tmp_path, corpus):
    keys_of(build(num_batches=5))
    write_jsonl(tmp_path / "d.jsonl", make_rows(3))
    changed = build(num_batches=5, paths=[*corpus, tmp_path / "d.jsonl"])
    with pytest.raises(
        ValueError, match="cannot go on where.*restore them, or remove .*stream.json"
    ):
        changed.build_iter(2)
    assert keys_of(changed, 1) != []  # training anew is another matter
    assert len(keys_of(changed, 2)) == 5
    (tmp_path / STATE_FILE).unlink()
    assert len(keys_of(build(num_batches=5, seed=9), 2)) == 5


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"c.jsonl:38: no JSON .*; write one object a line"),
        ('{"key": "x", "task": "ASR", "GT": "a"}', r"c.jsonl:38: field 'target' is missing.*; add"),
        ('{"key": "x", "task": "ARS", "GT": "a", "target": "a"}', r"38: task 'ARS'.*mean 'ASR'"),
        (
            '{"key": "x", "task": "ASR", "path": "x.wav", "target": "a"}',
            r"c.jsonl:38: key 'x' has audio, and streamed rows are text only; set --source text",
        ),
        (
            '{"key": "x", "task": "hotword", "GT": "a", "target": "a"}',
            r"c.jsonl:38: sample 'x': the prompt of task 'hotword' needs.*; correct the row",
        ),
    ],
)
def test_a_bad_row_is_named(build, corpus, line, message, num_workers):
    with open(corpus[2], "a") as stream:
        stream.write(f"\n{line}\n")
    with pytest.raises(ValueError, match=message) as error:
        keys_of(build(num_workers=num_workers))
    assert "\n" not in str(error.value)


def build_for_text(build, parts):
    factory = build()
    factory.reader.preprocessor = preprocessor(parts, source="text")
    return factory


def test_text_is_asked_for_where_rows_have_audio_too(corpus, parts, build):
    row = {"key": "x", "task": "ASR", "path": "x.wav", "target": "a"}
    with open(corpus[0], "a") as stream:
        stream.write(json.dumps(row) + "\n")
    factory = build_for_text(build, parts)
    with pytest.raises(ValueError, match=r"a.jsonl:21: key 'x' has no 'GT'; add 'GT'"):
        keys_of(factory)
    corpus[0].write_text(json.dumps(row | {"GT": "a"}) + "\n")
    assert "x" in flat(keys_of(build_for_text(build, parts)))


def test_what_gives_no_batches(build, tmp_path):
    blank = tmp_path / "blank.jsonl"
    blank.write_text("\n \n")
    with pytest.raises(ValueError, match="blank lines only"):
        keys_of(build(paths=[blank]))
    with pytest.raises(ValueError, match="a batch of .* rows for 8 processes: raise --batch_size"):
        keys_of(build(world_size=8))
    with pytest.raises(ValueError, match=r"buffer_mb \(0\) must be above 0"):
        TextStream(Shards([blank]), batch_size=1, by_length=True, buffer_mb=0)
