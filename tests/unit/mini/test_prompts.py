"""The recipe's prompts: their labels are the grammar's, their examples are in no split."""

from corpus import make_splits
from grammar import Grammar
from prepare_data import PROMPTS, prompt_examples

from espnet_psslm.text.prompt import read_prompt_file

SIZES = {"num_text": 3000, "num_train": 200, "num_sft": 50, "num_dev": 50, "num_test": 200}


def test_prompts_list_exactly_the_labels_of_the_grammar():
    rows = {row["task"]: row for row in read_prompt_file(PROMPTS)}
    scenarios, actions = zip(*Grammar().intents, strict=True)
    for task, labels in (("SLU_scenario", scenarios), ("SLU_action", actions)):
        assert rows[task]["system"].splitlines()[1:] == sorted(set(labels))
        assert sorted(answer for _, answer in rows[task]["examples"]) == sorted(set(labels))
    assert all(text == f" {answer}" for text, answer in rows["ASR"]["examples"])


def test_examples_are_in_no_split():
    examples = prompt_examples()
    assert len(examples) == 2 + 17 + 31
    splits = make_splits(Grammar(), seed=1, **SIZES, reserved=examples)
    drawn = {sentence.text for part in (splits.text, splits.dev, splits.test) for sentence in part}
    assert not examples & drawn
    without = make_splits(Grammar(), seed=1, **SIZES)
    assert examples & {sentence.text for sentence in without.text}  # the check can fail
