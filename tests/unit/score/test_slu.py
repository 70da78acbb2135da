import json

import pytest

from espnet_psslm.bin.score import main
from espnet_psslm.score.slu import (
    METRICS,
    char_distance,
    parse_answers,
    slu_score,
    word_distance,
)
from espnet_psslm.score.slu_files import read_slurp
from espnet_psslm.text.slu_answer import parse_answer
from tests.helpers import run_and_fail

# The golden file's names, in the order of METRICS.
GOLDEN = (
    *("Scenario", "Action", "Intent (scen_act)", "Entities"),
    *("Entities (distance word)", "Entities (distance char)", "Slu f1"),
)


def answers(**lines):
    return {key: parse_answer(line) for key, line in lines.items()}


@pytest.mark.parametrize("name", ["gold_hermit", "multi_slurp_hermit"])
def test_published_predictions_get_the_official_scores(shared_data, name):
    folder = shared_data / "slurp"
    golden = json.loads((folder / "golden_scores.json").read_text())[name]
    predictions = folder / f"experiments/predictions/{name}_predictions.jsonl"
    refs, hyps = read_slurp(folder / "dataset/slurp/test.jsonl", predictions)
    num_missing, num_refs = golden["_not_predicted"]
    assert (len(refs.keys() - hyps.keys()), len(refs)) == (num_missing, num_refs)
    # The official scorer leaves out what was not predicted.
    score = slu_score({key: refs[key] for key in hyps}, hyps, seed=0)
    for metric, title in zip(METRICS, GOLDEN, strict=True):
        f1 = score.metrics[metric]
        assert (f1.precision, f1.recall, f1.f1) == pytest.approx(golden[title], abs=1e-9)
    whole = slu_score(refs, hyps, seed=0)
    assert whole.num_missing == num_missing
    assert (whole.rate < score.rate) == (num_missing > 0)


def test_counts_by_hand():
    refs = answers(a="alarm | set | time: seven thirty | date: today | time: noon")
    hyps = answers(a="alarm | query | time: seven thirteen | person: bob | date: today")
    metrics = slu_score(refs, hyps, seed=0).metrics

    def counts(name):
        return metrics[name].num_tp, metrics[name].num_fp, metrics[name].num_fn

    assert counts("scenario") == (1, 0, 0)
    assert counts("action") == counts("intent") == (0, 1, 1)
    assert counts("entities") == (1, 2, 2)
    # Of the two times the nearer one is taken, half of its words are wrong; noon is left over.
    assert counts("entities_word") == (2, 0.5 + 1, 0.5 + 1)
    char = 3 / 14  # thirt(een -> y): two deletions and one substitution
    assert counts("entities_char") == pytest.approx((2, char + 1, char + 1))
    assert counts("slu_f1") == pytest.approx((4, 2.5 + char, 2.5 + char))
    assert metrics["slu_f1"].f1 == pytest.approx(4 / (4 + 2.5 + char))


def test_intervals_and_majority():
    """Each metric by utterance; a metric that has nothing to count has no interval."""
    refs = answers(a="alarm | set | time: noon", b="alarm | query", c="alarm | set", d="iot | set")
    score = slu_score(refs, refs | answers(b="alarm | set"), seed=0)
    assert score.majority == {"scenario": 3 / 4, "action": 3 / 4, "intent": 2 / 4}
    assert score.intervals["scenario"] == score.intervals["entities"] == (1.0, 1.0)
    low, high = score.intervals["action"]
    assert low < score.metrics["action"].f1 == 3 / 4 < high
    assert score.intervals["slu_f1"] == score.ci95
    assert json.loads(json.dumps(score.as_dict()))["intervals"]["action"] == [low, high]
    unknown = slu_score(refs, answers(b="alarm | set"), seed=0)  # three are missing
    assert unknown.metrics["action"].f1 == 0 and unknown.intervals["action"] == (0.0, 0.0)
    only_one = slu_score(answers(a="iot | set"), answers(a="iot | set | time: noon"), seed=0)
    assert only_one.intervals["entities"] == (0.0, 0.0)


def test_a_gold_entity_serves_one_prediction():
    refs = answers(a="alarm | set | time: noon")
    hyps = answers(a="alarm | set | time: noon | time: noon")
    metrics = slu_score(refs, hyps, seed=0).metrics
    assert (metrics["entities"].num_tp, metrics["entities"].num_fp) == (1, 1)
    assert (metrics["entities_word"].num_tp, metrics["entities_word"].num_fp) == (1, 1)


def test_missing_and_unparsable_answers_find_nothing():
    refs = answers(a="iot | coffee | date: today", b="iot | coffee | date: today", c="qa | maths")
    hyps = parse_answers({"a": "iot | coffee | date: today", "b": "coffee please"})
    score = slu_score(refs, hyps, seed=0)
    assert (score.num_utts, score.num_missing, score.num_unparsable) == (3, 1, 1)
    for name, counts in (("scenario", (1, 0, 2)), ("entities", (1, 0, 1)), ("slu_f1", (2, 0, 2))):
        f1 = score.metrics[name]
        assert (f1.num_tp, f1.num_fp, f1.num_fn) == counts
    assert score.rate == pytest.approx(2 / 3)
    assert score.ci95[0] <= score.rate <= score.ci95[1]


def test_nothing_to_score():
    with pytest.raises(ValueError, match="no entity to score"):
        slu_score(answers(a="iot | coffee"), answers(a="iot | coffee"), seed=0)
    with pytest.raises(ValueError, match="no entity"):
        slu_score({}, {}, seed=0)
    with pytest.raises(ValueError, match="'b'"):
        slu_score(answers(a="iot | coffee"), answers(b="iot | coffee"), seed=0)


@pytest.fixture
def folder(tmp_path):
    targets = {"u1": "alarm | set | time: noon", "u2": "iot | coffee | date: today"}
    rows = [
        {"key": f"{utt}-SLU_entities", "task": "SLU_entities", "target": target}
        for utt, target in targets.items()
    ]
    (tmp_path / "ref.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "hyp").write_text("u1-SLU_entities alarm | set | time: noon\n")
    return tmp_path


def run(ref, hyp, *options):
    output = ref.parent / "score.json"
    main([*f"--ref {ref} --hyp {hyp} --metric slu --output {output}".split(), *options])
    return json.loads(output.read_text())


def test_command(folder, capsys, caplog):
    files = folder / "ref.jsonl", folder / "hyp"
    score = run(*files, "--task", "SLU_entities")
    assert (score["metric"], score["num_missing"]) == ("slu_f1", 1)
    assert score["rate"] == score["metrics"]["slu_f1"]["f1"] == pytest.approx(2 / 3)
    assert "slu_f1 66.67 %" in capsys.readouterr().out
    assert "1 references without a hypothesis count as wrong" in caplog.text
    score = run(*files, "--task", "SLU_entities", "--missing", "left_out")
    assert (score["rate"], score["num_utts"]) == (1, 1)
    assert "1 references without a hypothesis are left out" in caplog.text
    with files[1].open("a") as stream:
        stream.write("u2-SLU_entities iot coffee\n")
    assert run(*files, "--task", "SLU_entities")["num_unparsable"] == 1
    assert "1 answers cannot be parsed" in caplog.text


def test_command_on_slurps_own_files(tmp_path, capsys):
    release = {
        "slurp_id": 7,
        **{"scenario": "alarm", "action": "set"},
        "tokens": [{"surface": "At"}, {"surface": "Noon"}],
        "entities": [{"type": "time", "span": [1]}],
        "recordings": [{"file": "a.flac"}, {"file": "b.flac"}],
    }
    said = {"scenario": "alarm", "action": "set", "entities": [{"type": "time", "filler": "noon"}]}
    (tmp_path / "test.jsonl").write_text(json.dumps(release) + "\n")
    hyp = tmp_path / "hyp.jsonl"
    hyp.write_text(json.dumps(said | {"file": "b.flac"}) + "\n")
    score = run(tmp_path / "test.jsonl", hyp)
    assert (score["num_utts"], score["num_missing"]) == (2, 1)
    hyp.write_text(json.dumps(said | {"slurp_id": "7"}) + "\n")
    score = run(tmp_path / "test.jsonl", hyp)
    assert (score["num_utts"], score["rate"]) == (1, 1)
    for lines, message in (
        (["alarm"], "hyp.jsonl:1: a str, no object"),
        ([{"slurp_id": "7"}], "hyp.jsonl:1: no field 'scenario'"),
        ([said | {"slurp_id": "7"}] * 2, "hyp.jsonl:2: '7' was there before"),
        ([said | {"slurp_id": "7", "entities": [{}]}], "hyp.jsonl:1: entity"),
    ):
        hyp.write_text("".join(json.dumps(line) + "\n" for line in lines))
        error = run_and_fail(lambda _: run(tmp_path / "test.jsonl", hyp), [], capsys)
        assert message in error


def test_predictions_of_others(tmp_path, capsys):
    """Null entities are none, an empty gold filler is one, what is not in the release is named."""
    release = {
        **{"slurp_id": 7, "scenario": "alarm", "action": "set", "tokens": [{"surface": "noon"}]},
        "entities": [{"type": "time", "span": []}, {"type": "date", "span": [0]}],
        "recordings": [{"file": "a.flac"}],
    }
    (tmp_path / "test.jsonl").write_text(json.dumps(release) + "\n")
    said = {"scenario": "alarm", "action": "set", "entities": None}
    hyp = tmp_path / "hyp.jsonl"
    lines = [said | {"file": "a.flac"}, said | {"file": "other.flac"}]
    hyp.write_text("".join(json.dumps(line) + "\n" for line in lines))
    error = run_and_fail(lambda _: run(tmp_path / "test.jsonl", hyp), [], capsys)
    assert "1 hypotheses have no reference, e.g. 'other.flac'" in error and "left_out" in error
    score = run(tmp_path / "test.jsonl", hyp, "--unknown", "left_out")
    assert (score["num_utts"], score["metrics"]["entities"]["num_fn"]) == (1, 2)
    assert score["metrics"]["scenario"]["f1"] == 1
    entities = [{"type": "time", "filler": "five"}, {"type": "time", "filler": ""}]
    hyp.write_text(json.dumps(said | {"file": "a.flac", "entities": entities}) + "\n")
    score = run(tmp_path / "test.jsonl", hyp)
    assert score["metrics"]["entities_word"]["num_tp"] == 1
    assert word_distance("", "") == 0 and char_distance("", "") == 0 and word_distance("", "x") == 1
