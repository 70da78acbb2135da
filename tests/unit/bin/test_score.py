import json

import pytest

from espnet_psslm.bin.score import main
from espnet_psslm.score.metrics import METRICS
from tests.helpers import run_and_fail, write_jsonl


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
    assert run(folder)["rate"] == 0.25
    assert "wer 25.00 %" in capsys.readouterr().out
    subset = run(folder, "--metric", "wer", "--where", "seen=false")
    assert (subset["rate"], subset["num_utts"]) == (0.5, 1)
    assert run(folder, "--metric", "accuracy")["num_correct"] == 1
    assert run(folder, "--metric", "cer")["num_del"] == 3


NEW = {  # a task's metric: what is right, what was answered, and the rate
    "accuracy": ("north London", "North London", 0.0),
    "exact": ("north London", "North London.", 1.0),
    "wer": ("north of London", "north London", 1 / 3),
    "cer": ("abcd", "abc", 0.25),
    "bleu": ("the cat sat on the mat", "the cat sat on the mat", 1.0),
    "chrf": ("the cat sat", "the cat sat", 1.0),
    "slu": ("alarm | set | time: noon", "alarm | set | time: noon | date: today", 2 / 3),
}


@pytest.mark.parametrize("metric", METRICS)
def test_a_new_task_is_scored_as_its_prompt_says(tmp_path, metric):
    target, answer, rate = NEW[metric]
    manifest = write_jsonl(tmp_path / "ref.jsonl", [{"key": "a", "task": "new", "target": target}])
    prompt = {"task": "new", "prompt": "Answer. ", "metric": metric}
    (tmp_path / "hyp").write_text(f"a {answer}\n")
    command = ["--ref", str(manifest), "--task", "new", "--hyp", f"{tmp_path}/hyp"]
    command += ["--prompt_file", str(write_jsonl(tmp_path / "prompts.jsonl", [prompt]))]
    main([*command, "--output", f"{tmp_path}/score.json"])
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["metric"] == {"slu": "slu_f1"}.get(metric, metric)
    assert score["rate"] == pytest.approx(rate)


def test_the_task_says_metric_and_language(tmp_path, caplog):
    """Without a word from anybody: Chinese is cut as sacreBLEU does it, and a guess is said."""
    caplog.set_level("INFO")
    rows = [
        {"key": f"a-{task}", "task": task, "target": "\u5317\u4eac"} for task in ("EN2ZH", "new")
    ]
    manifest = write_jsonl(tmp_path / "ref.jsonl", rows)
    found = {}
    for task in ("EN2ZH", "new"):
        (tmp_path / "hyp").write_text(f"a-{task} \u5317\u4eac\n")
        command = ["--ref", str(manifest), "--task", task, "--hyp", f"{tmp_path}/hyp"]
        main([*command, "--output", f"{tmp_path}/score.json"])
        found[task] = json.loads((tmp_path / "score.json").read_text())
    assert "|tok:zh|" in found["EN2ZH"]["signature"] and found["new"]["metric"] == "exact"
    assert "task new is scored by exact" in caplog.text and "EN2ZH is scored" not in caplog.text


def test_normaliser_of_the_leaderboard(folder):
    (folder / "hyp").write_text("u1 uh Play jazz!\nu2 stop it\n")
    assert run(folder, "--metric", "wer")["rate"] == 0.25
    found = run(folder, "--metric", "wer", "--normalizer", "whisper")
    assert (found["rate"], found["normalizer"]) == (0.0, "whisper")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "wer"], "error: 1 hypotheses have no reference, e.g. 'other'"),
        (["--normalizer", "whisper", "--metric", "bleu"], "--normalizer is of error rates: bleu"),
        (["--prompt_file", "absent"], "prompt file absent does not exist"),
    ],
)
def test_errors_are_one_line(folder, capsys, options, message):
    (folder / "hyp").write_text("other x\n")
    assert message in run_and_fail(lambda command: run(folder, *command), options, capsys)


def test_a_text_file_says_no_metric(folder, capsys):
    command = ["--ref", f"{folder}/hyp", "--hyp", f"{folder}/hyp", "--output", f"{folder}/out"]
    assert "give --task, or --metric, one of wer, cer" in run_and_fail(main, command, capsys)
