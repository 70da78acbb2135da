import pytest

from espnet_psslm.score.metrics import METRICS
from espnet_psslm.score.tasks import TaskMetrics, can_be_scored
from espnet_psslm.text import tasks as names
from tests.helpers import write_jsonl


@pytest.mark.parametrize(
    ("task", "language", "metrics", "answers_in"),
    [
        ("ASR", "de", ("wer", "cer"), "de"),
        ("ASR", "zh-CN", ("cer",), "zh-CN"),
        ("hotword", "en", ("wer", "cer"), "en"),
        ("EN2ZH", "en", ("bleu", "chrf"), "zh"),
        ("SLU_action", "en", ("accuracy",), "en"),
        ("SLU_entities", "en", ("slu",), "en"),
        ("sentiment", "en", ("accuracy",), "en"),
    ],
)
def test_tasks_that_come_with_the_package(task, language, metrics, answers_in):
    tasks = TaskMetrics(language)
    assert (tasks.metrics(task), tasks.language(task)) == (metrics, answers_in)


def test_what_the_prompt_file_says_comes_first(tmp_path, caplog):
    caplog.set_level("INFO")
    lines = [
        {"task": "spelling", "prompt": "Spell. ", "metric": "wer"},
        {"task": "spelling", "prompt": "Which letters? "},
        {"task": "EN2DE", "prompt": "Translate. ", "metric": "chrf"},
        {"task": "mood", "prompt": "Mood? ", "labels": ["good", "bad"]},
        {"task": "EN2FR", "prompt": "Translate. "},
    ]
    tasks = TaskMetrics.of_file("th", write_jsonl(tmp_path / "prompts.jsonl", lines))
    assert tasks.metrics("spelling") == ("cer",)  # Thai is written without spaces
    assert tasks.metrics("EN2DE") == ("chrf",)
    assert tasks.metrics("EN2FR") == ("bleu", "chrf") and not caplog.text
    assert tasks.metrics("mood") == ("accuracy",)
    assert tasks.metrics("QA") == ("exact",)
    assert 'task mood is scored by accuracy: no "metric" in the prompt file' in caplog.text
    assert tasks.metrics("QA") == ("exact",)  # which is said once
    assert caplog.text.count("task QA is scored by exact") == 1


def test_prompt_files_may_name_every_metric_and_no_other():
    assert tuple(METRICS) == names.METRICS


def test_entities_that_no_reference_has():
    assert can_be_scored("slu", ["alarm | set", "alarm | set | time: noon"])
    assert not can_be_scored("slu", ["alarm | set"])
    assert can_be_scored("exact", ["alarm | set"])
