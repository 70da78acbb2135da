"""The text of a domain: what is read, held out and refused."""

import json
import logging

import pytest

from espnet_psslm.recipe.adaptation.domain import read_domain
from espnet_psslm.text.units import SentencePieceUnits
from tests.helpers import SENTENCES

TASKS = ["ASR", "SLU_action"]
TEXTS = [f"{a} and {b}" for a in SENTENCES for b in SENTENCES[:4]]  # 32 of them


@pytest.fixture
def units(units_folder):
    return SentencePieceUnits(units_folder / "tokens.txt", bpemodel=str(units_folder / "bpe.model"))


@pytest.fixture
def read(units, tmp_path):
    """Read lines (text) or rows (JSON Lines)."""

    def read(content, *, tasks=TASKS):
        rows = [json.dumps(row) if isinstance(row, dict) else row for row in content]
        is_json = any(isinstance(row, dict) for row in content)
        path = tmp_path / ("domain.jsonl" if is_json else "domain.txt")
        path.write_text("\n".join(rows))
        return read_domain(path, units=units, tasks=tasks)

    return read


def test_plain_sentences_are_transcripts(read):
    domain = read([TEXTS[0].upper(), *TEXTS[1:], ""])
    rows = [*domain.train, *domain.held_out]
    assert sorted(row["GT"] for row in rows) == sorted(TEXTS)
    assert all(row["task"] == "ASR" and row["target"] == row["GT"] for row in rows)
    assert len({row["key"] for row in rows}) == len(TEXTS)
    assert len(domain.held_out) == 3
    assert read(TEXTS) == domain


def test_rows_bring_their_answers_and_no_sentence_is_on_both_sides(read):
    rows = [{"text": text, "task": "SLU_action", "target": "order"} for text in TEXTS]
    rows[1] = {"GT": TEXTS[1], "task": "SLU_action", "target": "pay", "note": "kept"}
    domain = read([*rows, {"text": TEXTS[0], "target": "As It Is Written"}])
    found = [*domain.train, *domain.held_out]
    assert domain.labels("SLU_action") == {"order", "pay"}
    assert {row["note"] for row in found if "note" in row} == {"kept"}
    transcripts = {row["GT"]: row["target"] for row in found if row["task"] == "ASR"}
    assert len(transcripts) == len(TEXTS) and len(found) == 2 * len(TEXTS)
    assert transcripts[TEXTS[0]] == "As It Is Written"
    assert not {row["GT"] for row in domain.train} & {row["GT"] for row in domain.held_out}


def test_a_model_without_transcripts_learns_what_is_asked(read):
    rows = [{"text": text, "task": "SLU_action", "target": "order"} for text in TEXTS]
    domain = read(rows, tasks=["SLU_action"])
    assert {row["task"] for row in domain.train} == {"SLU_action"}


def test_rows_that_come_again_are_left_out_and_counted(read, caplog):
    caplog.set_level(logging.INFO)
    assert len(read([*TEXTS, *TEXTS[:5]]).train) == len(read(TEXTS).train)
    assert "5 rows come again" in caplog.text


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": TEXTS[0], "task": "QA", "target": "x"}, "'QA' has no prompt"),
        ({"text": TEXTS[0], "task": "SLU_action"}, "has no target"),
        ({"task": "SLU_action", "target": "order"}, "no text"),
        ({"text": 5}, "text is 5"),
        ({"text": "  "}, "text is '  '"),
        ({"text": "?!"}, "no word"),
        ({"text": "\u4f60\u597d"}, "no unit"),
    ],
)
def test_a_bad_row_is_named_by_its_line(read, row, said):
    with pytest.raises(ValueError, match=r"domain.jsonl:33: .*" + said.replace("?", r"\?")):
        read([*({"text": text} for text in TEXTS), row])


def test_a_line_that_is_no_json_and_a_file_that_is_no_utf8(read, units, tmp_path):
    with pytest.raises(ValueError, match=r"domain.jsonl:2: no JSON"):
        read([{"text": TEXTS[0]}, "{"])
    path = tmp_path / "latin.txt"
    path.write_bytes(b"one line\ncaf\xe9 au lait\n")
    with pytest.raises(ValueError, match=r"latin.txt:2: not UTF-8"):
        read_domain(path, units=units, tasks=TASKS)
    with pytest.raises(ValueError, match="does not exist"):
        read_domain(tmp_path / "absent.txt", units=units, tasks=TASKS)


def test_too_few_sentences_are_refused(read):
    with pytest.raises(ValueError, match=r"19 different sentences; write at least 20"):
        read(TEXTS[:19])


def test_few_characters_without_a_unit_are_said_and_many_refused(read, caplog):
    read([*TEXTS, TEXTS[0] + " \u00e9"])
    assert "\u00e9 (1)" in caplog.text
    with pytest.raises(
        ValueError, match=r"% of the characters are in no unit of the model: \u00e9"
    ):
        read([*TEXTS, TEXTS[0] + " \u00e9" * 40])
