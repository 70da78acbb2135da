"""Row ``text_stream`` at a tiny size: both ways give the same, and its limits can be missed."""

import pytest

from benchmarks import text_stream
from benchmarks.measure import Measured
from espnet_psslm.bridge.simulate import TASUSimulator
from espnet_psslm.data.collate import StepsCollate
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.data.preprocessor import PSSLMPreprocessor
from espnet_psslm.data.shards import find_shards
from espnet_psslm.text.prompt import PromptBook
from espnet_psslm.text.units import SentencePieceUnits
from tests.helpers import build_tokenizer, text_rows

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
    paths = find_shards(str(tmp_path))
    return text_stream.Corpus(paths, preprocessor, collate, text_rows(), tmp_path)


def test_shards_hold_the_rows_under_new_keys(corpus):
    assert len(corpus.paths) == 3
    rows = {key: row for path in corpus.paths for key, row in read_manifest(path).items()}
    assert len(rows) == SIZE.rows
    assert rows["row9"] == text_rows()[1] | {"key": "row9"}


def test_ways_and_limits(corpus):
    case = text_stream.make_case(corpus, SIZE)
    case.check()
    assert case.ways["ours"]() >= SIZE.timed
    assert case.ways["in order"]() == SIZE.timed
    fast, slow = (Measured({"ours": (s, s, s)}, {}) for s in (1e-3, 1.0))
    assert all(holds(fast) for holds in case.limits.values())
    assert [name for name, holds in case.limits.items() if not holds(slow)] == ["8000 rows/s"]


def test_check_sees_another_sample(corpus, monkeypatch):
    case = text_stream.make_case(corpus, SIZE)
    real, drawn = PSSLMPreprocessor.__call__, []

    def once_wrong(self, uid, data):
        sample = real(self, uid, data)
        drawn.append(uid)
        sample["target_ids"][0] += drawn.count(uid) > 1
        return sample

    monkeypatch.setattr(PSSLMPreprocessor, "__call__", once_wrong)
    with pytest.raises(AssertionError, match="target_ids"):
        case.check()
