import json

import pytest

from espnet_psslm.bin.score import main
from tests.helpers import run_and_fail


@pytest.fixture
def folder(tmp_path):
    rows = [
        {"key": "u1-ASR", "utt": "u1", "task": "ASR", "target": "play jazz", "seen": True},
        {"key": "u2-ASR", "utt": "u2", "task": "ASR", "target": "stop it", "seen": False},
    ]
    (tmp_path / "ref.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "hyp").write_text("u1 play jazz\nu2 stop\n")
    return tmp_path


def run(folder, *options):
    main(
        [
            *("--ref", f"{folder}/ref.jsonl", "--hyp", f"{folder}/hyp", "--key_field", "utt"),
            *("--output", f"{folder}/score.json", "--task", "ASR", *options),
        ]
    )
    return json.loads((folder / "score.json").read_text())


def test_all_and_subset(folder, capsys):
    assert run(folder, "--metric", "wer")["rate"] == 0.25
    assert "wer 25.00 %" in capsys.readouterr().out
    subset = run(folder, "--metric", "wer", "--where", "seen=false")
    assert (subset["rate"], subset["num_utts"]) == (0.5, 1)
    assert run(folder, "--metric", "accuracy")["num_correct"] == 1
    assert run(folder, "--metric", "cer")["num_del"] == 3


def test_normaliser_of_the_leaderboard(folder):
    (folder / "hyp").write_text("u1 uh Play jazz!\nu2 stop it\n")
    assert run(folder, "--metric", "wer")["rate"] == 0.25
    found = run(folder, "--metric", "wer", "--normalizer", "whisper")
    assert (found["rate"], found["normalizer"]) == (0.0, "whisper")


def test_errors_are_one_line(folder, capsys):
    (folder / "hyp").write_text("other x\n")
    error = run_and_fail(lambda command: run(folder, *command), ["--metric", "wer"], capsys)
    assert "error: 1 hypotheses have no reference, e.g. 'other'" in error
