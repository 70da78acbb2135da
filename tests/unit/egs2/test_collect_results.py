import json
import shutil
import sys

import pytest

from tests.helpers import run_and_fail

ROWS = [
    ("u1", "play some jazz", "play", "music", True),
    ("u2", "set an alarm", "alarm", "set", True),
    ("u3", "stop", "play", "music", False),
]
KEYS = (
    *("ctc_wer", "asr_wer", "asr_wer_oracle", "scenario_acc", "scenario_majority", "action_acc"),
    *("action_majority", "asr_wer_sft", "scenario_acc_sft", "action_acc_sft", "n_utts"),
    *("n_words", "ci95"),
)


@pytest.fixture
def collect_results(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "egs2/mini/psslm1/local"))
    monkeypatch.delitem(sys.modules, "collect_results", raising=False)
    import collect_results

    return collect_results


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_hyps(folder, task, answers):
    lines = "".join(f"{utt}-{task} {answer}\n" for utt, answer in answers.items())
    write(folder / task / "1best_recog" / "text", lines)
    write(folder / task / "stats.json", json.dumps({"wall_s": 3.0, "audio_s": 12.0}))


@pytest.fixture
def recipe(tmp_path):
    """Three utterances: CTC makes one error, text-only one, fine-tuned none."""
    rows = []
    for utt, text, scenario, action, seen in ROWS:
        for task, target in (("ASR", text), ("SLU_scenario", scenario), ("SLU_action", action)):
            row = {"key": f"{utt}-{task}", "utt": utt, "task": task, "target": target}
            rows.append(json.dumps(row | {"path": "x.wav", "seen_template": seen}))
    write(tmp_path / "raw" / "test" / "psslm.jsonl", "\n".join(rows) + "\n")
    exp = tmp_path / "exp"
    text = {utt: words for utt, words, *_ in ROWS}
    ctc = "".join(f"{utt} {words}\n" for utt, words in (text | {"u3": "stop it"}).items())
    write(exp / "ctc/decode/test/1best_recog/text", ctc)
    for name, answers in (("psslm_text", text | {"u1": "play jazz"}), ("psslm_sft", text)):
        folder = exp / name / "decode" / "test"
        write_hyps(folder, "ASR", answers)
        write_hyps(folder, "SLU_scenario", {"u1": "play", "u2": "alarm", "u3": "alarm"})
        write_hyps(folder, "SLU_action", {"u1": "music", "u2": "set", "u3": "music"})
    write_hyps(exp / "psslm_text/decode/test_oracle", "ASR", text)
    write(exp / "seconds.json", '{"stage1_data": 5.0}')
    write(exp / "peak_rss_mb.json", '{"stage1_data": 5.0, "stage6_train_ctc": 2000.0}')
    write(exp / "commands.txt", "egs2/mini/psslm1/run.sh --seed 3\n")
    return tmp_path


def run(collect_results, folder, *options):
    collect_results.main(
        [
            *("--expdir", f"{folder}/exp", "--raw_dir", f"{folder}/raw"),
            *("--ctc_exp", f"{folder}/exp/ctc", "--test_sets", "test", "--seed", "3", *options),
        ]
    )
    return json.loads((folder / "exp" / "results.json").read_text())


def test_figures(collect_results, recipe, capsys):
    results = run(collect_results, recipe, "--print_table", "true")
    test = results["test"]
    assert set(KEYS) <= test.keys()
    assert (test["n_utts"], test["n_words"]) == (3, 7)
    assert test["ctc_wer"] == pytest.approx(1 / 7)
    assert test["asr_wer"] == pytest.approx(1 / 7)
    assert test["asr_wer_sft"] == test["asr_wer_oracle"] == 0
    assert test["scenario_acc"] == test["scenario_majority"] == pytest.approx(2 / 3)
    assert test["action_acc_sft"] == 1
    assert test["errors"]["asr_wer"] == {"sub": 0, "del": 1, "ins": 0, "ref": 7, "missing_utts": 0}
    assert set(test["ci95"]) >= {"ctc_wer", "asr_wer", "scenario_acc", "action_acc_sft"}
    assert test["unseen"]["n_utts"] == 1
    assert test["unseen"]["ctc_wer"] == 1
    assert test["unseen"]["scenario_acc"] is None  # one class only
    assert results["test_real"] is None
    assert results["rtf"] == 0.25
    assert results["peak_rss_mb"] == 2000
    assert results["seconds"] == {"stage1_data": 5.0}
    assert results["seed"] == 3
    assert {"commit", "cpu"} <= results.keys()
    table = (recipe / "exp" / "RESULTS.md").read_text()
    assert capsys.readouterr().out == table + "\n"
    assert "| Whisper-CTC, greedy | 14.29 [" in table
    assert "run.sh --seed 3" in table


def test_a_set_that_the_text_only_bridge_answers_alone(collect_results, recipe):
    for place in ("raw", "exp/ctc/decode", "exp/psslm_text/decode"):
        shutil.copytree(recipe / place / "test", recipe / place / "test_natural")
    results = run(collect_results, recipe, "--plain_test_sets", "test_natural")
    test, natural = results["test"], results["test_natural"]
    assert natural["asr_wer"] == test["asr_wer"] and natural["ctc_wer"] == test["ctc_wer"]
    assert natural["asr_wer_sft"] is natural["asr_wer_oracle"] is natural["action_acc_sft"] is None
    assert test["asr_wer_sft"] == 0 and results["test_engines"] is None
    table = (recipe / "exp" / "RESULTS.md").read_text()
    _, _, section = table.partition("## test_natural: 3 utterances")
    assert "| text-only |" in section and "fine-tuning" not in section and "oracle" not in section


def test_without_fine_tuning(collect_results, recipe):
    test = run(collect_results, recipe, "--sft", "false")["test"]
    assert test["asr_wer_sft"] is test["scenario_acc_sft"] is None
    assert "asr_wer_sft" not in test["ci95"]
    assert "fine-tuning" not in (recipe / "exp" / "RESULTS.md").read_text()


def test_missing_hypotheses_are_an_error_of_one_line(collect_results, recipe, capsys):
    (recipe / "exp/psslm_sft/decode/test/ASR/1best_recog/text").unlink()
    error = run_and_fail(lambda _: run(collect_results, recipe), [], capsys)
    assert "psslm_sft/decode/test/ASR" in error


def test_slu_f1_where_the_data_have_entities(collect_results, recipe):
    right = {
        "u1": "play | music | music_genre: jazz",
        "u2": "alarm | set",
        "u3": "play | music",
    }
    manifest = recipe / "raw/test/psslm.jsonl"
    with manifest.open("a") as stream:
        for utt, target in right.items():
            row = {"key": f"{utt}-SLU_entities", "utt": utt, "task": "SLU_entities"}
            row |= {"target": target, "path": "x.wav", "seen_template": utt != "u3"}
            stream.write(json.dumps(row) + "\n")
    write_hyps(recipe / "exp/psslm_text/decode/test", "SLU_entities", right | {"u1": "play music"})
    write_hyps(recipe / "exp/psslm_sft/decode/test", "SLU_entities", right)
    # The part of unseen templates has no entity at all: a share of nothing is no figure.
    test = run(collect_results, recipe)["test"]
    assert (test["slu_f1"], test["slu_f1_sft"], test["slu_unparsable"]) == (0, 1, 1)
    assert "slu_f1" not in test["unseen"]
    table = (recipe / "exp/RESULTS.md").read_text()
    assert "SLU-F1 % [95 %], text-only: 0.00 [0.00, 0.00]; 1 answers could not be parsed" in table
