"""The recipe's prompts: their labels are the grammar's, their examples are in no split."""

from corpus import make_splits
from grammar import Grammar
from prepare_data import PROMPTS, prompt_examples

from espnet_psslm.text.prompt import read_prompt_file
from espnet_psslm.text.slu_answer import parse_answer

SIZES = {"num_text": 3000, "num_train": 200, "num_sft": 50, "num_dev": 50, "num_test": 200}


def test_prompts_list_exactly_the_labels_of_the_grammar():
    rows = {row["task"]: row for row in read_prompt_file(PROMPTS)}
    scenarios, actions = zip(*Grammar().intents, strict=True)
    for task, labels in (("SLU_scenario", scenarios), ("SLU_action", actions)):
        assert rows[task]["system"].splitlines()[1:] == sorted(set(labels))
        assert sorted(answer for _, answer in rows[task]["examples"]) == sorted(set(labels))
    assert all(text == f" {answer}" for text, answer in rows["ASR"]["examples"])


def test_entities_are_those_of_the_sentence_and_of_the_grammar():
    *others, row = read_prompt_file(PROMPTS.with_name("prompts_entities.jsonl"))
    assert others == read_prompt_file(PROMPTS)  # the file with one task more
    rows = {row["task"]: row for row in others}
    grammar, actions = Grammar(), dict(rows["SLU_action"]["examples"])
    assert row["task"] == "SLU_entities"
    assert row["system"].splitlines()[1:] == sorted(grammar.slots)
    for text, line in row["examples"]:
        answer = parse_answer(line)
        assert (answer.scenario, answer.action) in grammar.intents
        assert answer.action == actions[text]  # no sentence is reserved for this task alone
        places = [f"{text} ".find(f" {filler} ") for _, filler in answer.entities]
        assert -1 not in places and places == sorted(places)
        assert all(filler in grammar.slots[kind].train for kind, filler in answer.entities)


def test_examples_are_in_no_split():
    examples = prompt_examples()
    assert len(examples) == 2 + 17 + 31
    splits = make_splits(Grammar(), seed=1, **SIZES, reserved=examples)
    drawn = {sentence.text for part in (splits.text, splits.dev, splits.test) for sentence in part}
    assert not examples & drawn
    without = make_splits(Grammar(), seed=1, **SIZES)
    assert examples & {sentence.text for sentence in without.text}  # the check can fail
