"""Pairs of text and Steps: which utterances are taken, and how often."""

import json

import pytest
import torch

from espnet_psslm.bin.simulator_pairs import main
from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.bridge.steps_file import StepsWriter
from espnet_psslm.text.units import SentencePieceUnits
from tests.helpers import SENTENCES, run_and_fail, write_jsonl


@pytest.fixture
def units(units_folder):
    return SentencePieceUnits(units_folder / "tokens.txt", bpemodel=units_folder / "bpe.model")


@pytest.fixture
def dump(units, tmp_path):
    """Writes a dump, given texts and what was heard of them, and returns its manifest."""

    def write(name, utterances):
        rows = []
        with StepsWriter(tmp_path / name / "steps.ark", {}) as writer:
            for index, (_, heard) in enumerate(utterances):
                ids = torch.tensor(heard, dtype=torch.long)
                places = torch.arange(len(ids))[None]
                steps = PosteriorSteps(
                    *(ids[None, :, None], torch.ones(1, len(ids), 1), torch.tensor([len(ids)])),
                    *(units.num_units, places, places + 1),
                )
                writer.write_batch([f"utt{index}"], steps)
        for index, (text, _) in enumerate(utterances):
            for task in ("ASR", "SLU_scenario"):
                row = {"key": f"utt{index}-{task}", "task": task, "target": text, "GT": text}
                rows.append(row | {"steps": writer.locations[f"utt{index}"]})
        return str(write_jsonl(tmp_path / name / "psslm.jsonl", rows))

    return write


@pytest.fixture
def gather(units_folder, tmp_path):
    def run(*manifests):
        output = tmp_path / "pairs/train.jsonl"
        command = ["--steps_manifest", *manifests, "--output", str(output)]
        command += ["--token_list", str(units_folder / "tokens.txt")]
        main([*command, "--bpemodel", str(units_folder / "bpe.model")])
        return [json.loads(line) for line in output.read_text().splitlines()]

    return run


def test_each_utterance_once_with_what_it_was_heard_as(dump, gather, units, caplog):
    caplog.set_level("INFO")
    first, second = (units.encode(text) for text in SENTENCES[:2])
    other = next(unit for unit in first if unit != second[0])
    clean = dump("clean", [(SENTENCES[0], first), (SENTENCES[1], second)])
    some_wrong = [other] * (len(second) // 4) + second[len(second) // 4 :]
    hard = dump("hard", [(SENTENCES[0], first[:2]), (SENTENCES[1], some_wrong)])
    pairs = gather(clean, hard)
    assert [row["key"] for row in pairs] == ["0-utt0-ASR", "0-utt1-ASR", "1-utt0-ASR", "1-utt1-ASR"]
    assert len({row["steps"] for row in pairs}) == 4
    assert "4 pairs, of which 50.0 % have 0 to 6 % of errors, 25.0 % have 10 to 40 %" in caplog.text
    assert "25.0 % have 50 to 150 % of errors, 0.0 % lie between" in caplog.text


def test_what_cannot_be_learnt_from_is_left_out_and_counted(dump, gather, units, caplog):
    known = units.encode(SENTENCES[0])
    word = units.encode("play")
    manifest = dump(
        "dump",
        [
            (SENTENCES[0], known),
            ("?!", known),
            (SENTENCES[0], []),
            ("play", word * 4),  # three times as much as was said
            (SENTENCES[0], [units.blank_id] * 1030),
        ],
    )
    [pair] = gather(manifest)
    assert pair["key"] == "0-utt0-ASR"
    for said in (
        "1 without a unit in the text", "1 in which nothing is heard",
        "1 with more than 2 errors per unit", "1 longer than 1023 units or rows",
    ):  # fmt: skip
        assert said in caplog.text


def test_a_manifest_without_steps_is_one_line(gather, tmp_path, units_folder, capsys):
    row = {"key": "a", "task": "ASR", "target": "x", "GT": "x"}
    plain = str(write_jsonl(tmp_path / "text.jsonl", [row]))
    command = ["--steps_manifest", plain, "--output", str(tmp_path / "out.jsonl")]
    command += ["--token_list", str(units_folder / "tokens.txt")]
    command += ["--bpemodel", str(units_folder / "bpe.model")]
    said = run_and_fail(main, command, capsys)
    assert "text.jsonl: no row has a text (GT) and dumped Steps to learn from; stage 8" in said
