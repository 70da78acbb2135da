import json
import re
import shutil
from pathlib import Path

import pytest

from espnet_psslm.bin.collect_results import main

ROWS = [
    ("u1", "the cat sat on the mat", "Die Katze saß auf der Matte.", "alarm"),
    ("u2", "good night", "Gute Nacht, liebe alte Stadt!", "alarm"),
    ("u3", "it is raining", "Es regnet heute sehr stark.", "weather"),
]
LINES = ["alarm | set | time: seven thirty | date: today", "alarm | query", "weather | query"]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def exp(tmp_path):
    rows, hyps = [], {"ASR": {}, "EN2DE": {}, "SLU_scenario": {}, "QA": {}}
    for utt, text, german, scenario in ROWS:
        for task, target in (
            ("ASR", text), ("EN2DE", german), ("SLU_scenario", scenario), ("QA", "free text"),
        ):  # fmt: skip
            row = {"key": f"{utt}-{task}", "utt": utt, "task": task, "target": target}
            rows.append(json.dumps(row | {"path": "x.wav"}))
            hyps[task][f"{utt}-{task}"] = target
    write(tmp_path / "raw/test/psslm.jsonl", "\n".join(rows) + "\n")
    ctc = "".join(f"{utt} {text}\n" for utt, text, *_ in ROWS).replace("good", "god")
    write(tmp_path / "exp/ctc/decode/test/1best_recog/text", ctc)
    for system in ("psslm_text", "psslm_sft"):
        for task, answers in hyps.items():
            lines = "".join(f"{key} {text}\n" for key, text in answers.items())
            if system == "psslm_text":
                lines = lines.replace("weather", "alarm").replace("Nacht, ", "").replace("sat ", "")
            write(tmp_path / "exp" / system / f"decode/test/{task}/1best_recog/text", lines)
    write(tmp_path / "exp/seconds.json", '{"stage1_data": 5.0}')
    write(tmp_path / "exp/peak_rss_mb.json", '{"stage1_data": 5.0}')
    write(tmp_path / "exp/commands.txt", "egs2/covost2/psslm1/run.sh --pair en_de\n")
    return tmp_path / "exp"


def add_entities(exp, lines):
    """Rows of SLU_entities; the text-only bridge misses a date, and one of its answers is none."""
    keys = [f"{utt}-SLU_entities" for utt, *_ in ROWS]
    with open(exp.parent / "raw/test/psslm.jsonl", "a", encoding="utf-8") as manifest:
        for key, line in zip(keys, lines, strict=True):
            row = {"key": key, "task": "SLU_entities", "target": line, "path": "x.wav"}
            manifest.write(json.dumps(row) + "\n")
    for system in ("psslm_text", "psslm_sft"):
        text = "".join(f"{key} {line}\n" for key, line in zip(keys, lines, strict=True))
        if system == "psslm_text":
            text = text.replace(" | date: today", "").replace("weather | query", "weather")
        write(exp / system / "decode/test/SLU_entities/1best_recog/text", text)


def run(exp, *options):
    main(
        [
            *("--expdir", str(exp), "--raw_dir", str(exp.parent / "raw"), "--seed", "0"),
            *("--ctc_exp", str(exp / "ctc"), "--test_sets", "test", *options),
        ]
    )
    return json.loads((exp / "results.json").read_text())


def find(results, system, metric):
    (row,) = [
        row
        for row in results["scores"]
        if row["system"].endswith(system) and row["metric"] == metric
    ]
    return row


def test_every_task_by_its_metric(exp, capsys):
    results = run(exp, "--print_table", "true")
    assert find(results, "ctc", "wer")["rate"] == pytest.approx(1 / 11)
    assert find(results, "psslm_text", "wer")["num_del"] == 1
    assert find(results, "psslm_text", "accuracy")["rate"] == pytest.approx(2 / 3)
    assert find(results, "psslm_sft", "bleu")["rate"] == pytest.approx(1.0)
    assert "|tok:13a|" in find(results, "psslm_text", "bleu")["signature"]
    assert find(results, "psslm_text", "chrf")["rate"] < 1
    assert find(results, "psslm_sft", "exact")["task"] == "QA"
    tasks = ["ASR", "EN2DE", "QA", "SLU_scenario"]
    assert list(dict.fromkeys(row["task"] for row in results["scores"])) == tasks
    assert [row["task"] for row in results["comparisons"]] == tasks
    assert results["comparisons"][1]["difference"] > 0
    text = (exp / "RESULTS.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == text + "\n"


def test_table_has_espnets_columns(exp):
    run(exp)
    text = (exp / "RESULTS.md").read_text(encoding="utf-8")
    assert "|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|95 %|" in text
    # One of eleven words is wrong, in one of three sentences.
    assert "|test|3|11|90.9|9.1|0.0|0.0|9.1|33.3|" in text
    assert "Text normalisation, en: NFKC, lower case" in text
    assert "### WER, Whisper's normalisation" in text and "en: Whisper's English" in text
    assert "\\|tok:13a\\|" in text and "psslm_sft compared with" in text
    assert "- espnet version: `espnet 20" in text
    assert "run.sh --pair en_de" in text


def test_entities_by_slurps_metrics(exp):
    add_entities(exp, LINES)
    results = run(exp)
    before, after = (find(results, name, "slu_f1") for name in ("psslm_text", "psslm_sft"))
    # One of two entities, in words and in characters: 2 * 2 / (2 * 2 + 2).
    assert before["rate"] == pytest.approx(2 / 3)
    assert (before["num_unparsable"], after["rate"], after["num_unparsable"]) == (1, 1.0, 0)
    (compared,) = [row for row in results["comparisons"] if row["task"] == "SLU_entities"]
    assert (compared["rate_a"], compared["rate_b"]) == (before["rate"], after["rate"])
    text = (exp / "RESULTS.md").read_text(encoding="utf-8")
    titles = "SLU-F1|95 %|entities|word-F1|char-F1|scenario|action|intent|majority class"
    assert f"|dataset|task|Snt|{titles}|" in text
    # Of three scenarios the two parsed ones are right: 2 * 2 / (2 * 2 + 1); no entity is wrong.
    assert "|80.00 [0.00, 100.00]|" in text and "|66.7 / 66.7 / 33.3|" in text
    assert "|test|SLU_entities|3|66.67|" in text and "|test|SLU_entities|SLU-F1|+33.33|" in text


def test_misheard_fillers_count_by_words_and_by_letters(exp):
    add_entities(exp, LINES)
    answers = exp / "psslm_sft/decode/test/SLU_entities/1best_recog/text"
    write(answers, answers.read_text().replace("seven thirty", "seven dirty"))
    run(exp)
    text = (exp / "RESULTS.md").read_text(encoding="utf-8")
    # One of two entities is right; of the other's two words one is wrong, of its 12 letters two:
    # 2 * 1 / (2 * 1 + 2), 2 * 2 / (2 * 2 + 2 / 2), 2 * 2 / (2 * 2 + 2 * 2 / 12).
    assert re.search(r"\|50\.00 \[[^]]+\]\|80\.00 \[[^]]+\]\|92\.31 \[[^]]+\]\|100\.00 \[", text)


def test_entities_that_no_row_has_are_not_scored(exp):
    add_entities(exp, ["alarm | set", "alarm | query", "weather | query"])
    assert "SLU_entities" not in {row["task"] for row in run(exp)["scores"]}


def test_without_fine_tuning_nothing_is_compared(exp):
    results = run(exp, "--sft", "false")
    assert results["comparisons"] == []
    assert not any(row["system"].endswith("sft") for row in results["scores"])
    assert "compared" not in (exp / "RESULTS.md").read_text(encoding="utf-8")


def test_a_set_that_the_text_only_bridge_answers_alone(exp):
    for place in (exp.parent / "raw", exp / "ctc/decode", exp / "psslm_text/decode"):
        shutil.copytree(place / "test", place / "other")
    results = run(exp, "--plain_test_sets", "other")
    systems = {Path(row["system"]).name for row in results["scores"] if row["set"] == "other"}
    assert systems == {"ctc", "psslm_text"}
    assert {row["set"] for row in results["comparisons"]} == {"test"}


def test_an_acoustic_model_that_was_not_decoded_is_left_out(exp):
    shutil.rmtree(exp / "ctc/decode")
    systems = {row["system"] for row in run(exp)["scores"]}
    assert systems == {str(exp / name) for name in ("psslm_text", "psslm_sft")}


def test_a_set_without_audio_has_no_acoustic_model(exp):
    """Of transcripts alone the acoustic model has decoded nothing; the other set still counts."""
    manifest = exp.parent / "raw/test/psslm.jsonl"
    write(exp.parent / "raw/text/psslm.jsonl", manifest.read_text().replace('"path"', '"GT"'))
    for system in ("psslm_text", "psslm_sft"):
        shutil.copytree(exp / system / "decode/test", exp / system / "decode/text")
    found = {
        (row["set"], Path(row["system"]).name, row["metric"])
        for row in run(exp, "--test_sets", "test", "text")["scores"]
    }
    assert ("test", "ctc", "wer") in found and ("text", "psslm_text", "wer") in found
    assert ("text", "ctc", "wer") not in found


def test_missing_hypotheses_end_in_one_line(exp, capsys):
    (exp / "psslm_sft/decode/test/EN2DE/1best_recog/text").unlink()
    with pytest.raises(SystemExit) as stop:
        run(exp)
    assert stop.value.code == 1
    assert "psslm_sft/decode/test/EN2DE/1best_recog/text does not exist" in capsys.readouterr().err


def test_a_new_task_needs_a_line_in_the_prompt_file(exp):
    """Scored and shown beside the transcripts, whose metric it shares."""
    prompts = exp.parent / "prompts.jsonl"
    write(prompts, '{"task": "QA", "prompt": "Answer. ", "metric": "wer"}\n')
    answers = exp / "psslm_text/decode/test/QA/1best_recog/text"
    write(answers, answers.read_text().replace("free text", "free", 1))
    results = run(exp, "--prompt_file", str(prompts))
    (row,) = [
        row
        for row in results["scores"]
        if (row["task"], row["metric"]) == ("QA", "wer") and "text" in row["system"]
    ]
    assert (row["num_del"], row["num_ref"]) == (1, 6)
    text = (exp / "RESULTS.md").read_text(encoding="utf-8")
    assert "|test/QA|3|6|83.3|" in text and "|test|QA|WER|-16.67|" in text
