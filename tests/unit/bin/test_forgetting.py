import json

import pytest

from espnet_psslm.bin.forgetting import main, verdict
from tests.helpers import write_jsonl

TARGETS = {
    "ASR": "play jazz",
    "SLU_scenario": "play",
    "SLU_entities": "play | music | music_genre: jazz",
    "EN2DE": "Spiel Jazz",
}
NUM_UTTS = 8


def answer(folder, task, text):
    path = folder / task / "1best_recog" / "text"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"u{i}-{task} {text}\n" for i in range(NUM_UTTS)))


@pytest.fixture
def options(tmp_path):
    """Fine-tuning mends ASR, ruins entities, and leaves the scenario as it was."""
    rows = [
        {"key": f"u{i}-{task}", "task": task, "target": target, "GT": "play jazz"}
        for i in range(NUM_UTTS)
        for task, target in TARGETS.items()
    ]
    for task, target in TARGETS.items():
        before, after = {"ASR": ("stop", target), "SLU_entities": (target, "play music")}.get(
            task, (target, target)
        )
        answer(tmp_path / "before", task, before)
        answer(tmp_path / "after", task, after)
    return [
        *("--manifest", str(write_jsonl(tmp_path / "test.jsonl", rows))),
        *("--before", str(tmp_path / "before"), "--after", str(tmp_path / "after")),
        *("--output", str(tmp_path / "new/table.md")),
    ]


def test_every_task_in_one_table(options, tmp_path):
    prompts = [{"task": "SLU_scenario", "prompt": "Name it. ", "metric": "exact"}]
    prompt_file = str(write_jsonl(tmp_path / "prompts.jsonl", prompts))
    main([*options, "--metric", "EN2DE=cer", "--prompt_file", prompt_file])
    lines = (tmp_path / "new/table.md").read_text().splitlines()
    all_right, all_wrong = "100.00 [100.00, 100.00]", "0.00 [0.00, 0.00]"
    assert lines[2:] == [
        f"|ASR|wer|{all_right}|{all_wrong}|-100.00|better|",
        f"|SLU_scenario|exact|{all_right}|{all_right}|+0.00||",
        f"|SLU_entities|slu_f1|{all_right}|{all_wrong}|-100.00|worse|",
        f"|EN2DE|cer|{all_wrong}|{all_wrong}|+0.00||",
    ]
    found = json.loads((tmp_path / "new/table.json").read_text())
    assert found["SLU_entities"]["after"]["num_unparsable"] == NUM_UTTS
    assert found["ASR"]["change"] == -1


def test_tasks_are_scored_as_in_stage_13(options, tmp_path):
    main([*options, "--language", "zh-CN"])
    found = json.loads((tmp_path / "new/table.json").read_text())
    assert found["EN2DE"]["after"]["metric"] == "bleu"
    assert "tok:13a" in found["EN2DE"]["after"]["signature"]
    assert found["ASR"]["after"]["metric"] == "cer"


def test_entities_of_a_set_that_has_none(options, tmp_path):
    manifest = tmp_path / "test.jsonl"
    manifest.write_text(manifest.read_text().replace("| music_genre: jazz", "").replace(' "', '"'))
    main(options)
    assert "SLU_entities" not in json.loads((tmp_path / "new/table.json").read_text())


def test_what_is_missing_is_named(options, tmp_path, capsys):
    for change, message in (
        (["--metric", "EN2DE=meteor"], "write TASK=METRIC, one of wer, cer, "),
        (["--metric", "EN2DE"], "write TASK=METRIC"),
        (["--after", str(tmp_path)], "ASR/1best_recog/text does not exist"),
    ):
        with pytest.raises(SystemExit):
            main([*options, *change])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "is_error", "expected"),
    [
        ((0.1, 0.2), (0.3, 0.4), True, "worse"),
        ((0.1, 0.2), (0.3, 0.4), False, "better"),
        ((0.3, 0.4), (0.1, 0.2), True, "better"),
        ((0.3, 0.4), (0.1, 0.2), False, "worse"),
        ((0.1, 0.3), (0.2, 0.4), True, ""),
    ],
)
def test_only_what_cannot_be_chance(before, after, is_error, expected):
    assert verdict(before, after, is_error=is_error) == expected
