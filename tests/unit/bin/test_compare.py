"""The command line of the paired comparison."""

import json

import pytest

from espnet_psslm.bin.compare import main
from espnet_psslm.score.paired import compare
from tests.helpers import run_and_fail, write_jsonl

REFS = {f"u{i}": f"play track {i} again" for i in range(20)}
A = {utt: text.removesuffix(" again") for utt, text in REFS.items()}
B = {utt: text if i % 4 else A[utt] for i, (utt, text) in enumerate(REFS.items())}


@pytest.fixture
def folder(tmp_path):
    rows = []
    for utt, text in REFS.items():
        row = {"key": f"{utt}-ASR", "utt": utt, "task": "ASR", "target": text}
        rows += [row, row | {"key": f"{utt}-QA", "task": "QA", "target": "another task"}]
    write_jsonl(tmp_path / "ref.jsonl", rows)
    for name, texts in (("ref", REFS), ("a", A), ("b", B)):
        (tmp_path / name).write_text("".join(f"{utt} {text}\n" for utt, text in texts.items()))
    return tmp_path


def command(folder, ref="ref.jsonl", *options, metric="wer"):
    files = ("--ref", f"{folder}/{ref}", "--hyp_a", f"{folder}/a", "--hyp_b", f"{folder}/b")
    return [*files, "--metric", metric, "--output", f"{folder}/out/compare.json", *options]


def test_two_systems_on_a_task_of_a_manifest(folder, capsys):
    words = ("--task", "ASR", "--key_field", "utt", "--seed", "3", "--num_resamples", "200")
    main(command(folder, "ref.jsonl", *words))
    result = json.loads((folder / "out/compare.json").read_text())
    direct = compare(REFS, A, B, metric="wer", seed=3, num_resamples=200)
    assert result == direct.as_dict()
    assert (result["rate_a"], result["num_utts"]) == (0.25, 20) and result["difference"] < 0
    said = capsys.readouterr().out
    assert said.startswith("wer A 25.00 B 6.25 difference -18.75 [")
    assert said.endswith(f" of 20 utterances: {folder}/out/compare.json\n")


def test_references_in_a_text_file(folder, capsys):
    main(command(folder, "ref", metric="accuracy"))
    assert capsys.readouterr().out.startswith("accuracy A 0.00 B 75.00 difference +75.00 [")


@pytest.mark.parametrize(
    ("ref", "options", "message"),
    [
        ("ref.jsonl", ["--task", "ASR"], "hypotheses have no reference"),  # keyed by utterance
        ("ref.jsonl", ["--task", "EN2DE", "--key_field", "utt"], "no references"),
        ("none", [], "none does not exist"),
    ],
)
def test_errors_are_one_line(folder, capsys, ref, options, message):
    assert message in run_and_fail(main, command(folder, ref, *options), capsys)
