"""Row ``text_stream`` at a tiny size: both ways give the same, and its limits can be missed."""

import pytest
import torch

from benchmarks import text_stream
from benchmarks.measure import Machine, Measured, Setting
from espnet_psslm.bridge.simulate import TASUSimulator
from espnet_psslm.data.collate import StepsCollate
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.data.preprocessor import PSSLMPreprocessor
from espnet_psslm.data.shards import find_shards
from espnet_psslm.text.prompt import PromptBook
from espnet_psslm.text.units import SentencePieceUnits
from tests.helpers import build_tokenizer, text_rows

SETTING = Setting(Machine(torch.device("cpu"), copy_bytes_s=1e10, flops_s={torch.float32: 1e11}))
SIZE = text_stream.Size(300, timed=64, batch=4)


@pytest.fixture
def corpus(units_folder, prompt_file, tmp_path, monkeypatch):
    tokenizer = build_tokenizer()
    units = SentencePieceUnits(units_folder / "tokens.txt", bpemodel=units_folder / "bpe.model")
    preprocessor = PSSLMPreprocessor(
        True,
        prompts=PromptBook(prompt_file, tokenizer),
        units=units,
        end_id=tokenizer.eos_token_id,
        simulator=TASUSimulator(units.num_units, blank_id=0),
    )
    monkeypatch.setattr(text_stream, "SHARD_ROWS", 120)
    text_stream.write_shards(tmp_path, text_rows(), SIZE.rows)
    collate = StepsCollate(num_units=units.num_units, pad_id=tokenizer.eos_token_id)
    return text_stream.Corpus(find_shards(str(tmp_path)), preprocessor, collate)


def test_shards_hold_the_rows_under_new_keys(corpus):
    assert len(corpus.paths) == 3
    rows = {key: row for path in corpus.paths for key, row in read_manifest(path).items()}
    assert len(rows) == SIZE.rows
    assert rows["row9"] == text_rows()[1] | {"key": "row9"}


def test_ways_and_limits(corpus, tmp_path):
    case = text_stream.make_case(SETTING, corpus, SIZE, tmp_path)
    case.check()
    assert case.ways["ours"]() >= SIZE.timed
    assert case.ways["plain"]() == SIZE.timed
    fast, slow = (Measured({"ours": (s, s, s)}, {}) for s in (1e-3, 1.0))
    assert all(holds(fast) for holds in case.limits.values())
    assert [name for name, holds in case.limits.items() if not holds(slow)] == ["20000 rows/s"]


def test_check_sees_another_sample(corpus, tmp_path, monkeypatch):
    case = text_stream.make_case(SETTING, corpus, SIZE, tmp_path)
    real = corpus.preprocessor.many_texts

    def wrong(rows):
        samples = real(rows)
        samples[-1][1]["target_ids"][0] += 1
        return samples

    monkeypatch.setattr(corpus.preprocessor, "many_texts", wrong)
    with pytest.raises(AssertionError):
        case.check()
