"""Greedy answers from drafts against plain greedy search; float64."""

from functools import partial

import pytest
import torch

from espnet_psslm.llm import drafts as module
from espnet_psslm.llm.drafts import Drafts, resume
from tests.equivalence import test_lora, test_tuned_prefix
from tests.equivalence.test_bridge import (
    ARCHITECTURES,
    COPIED,
    END,
    SAMPLES,
    VOCAB,
    answer,
    build,
    collate,
)

LONGEST = 12


def no_word(token):
    return False


def answers_of(model, samples, drafts=None, **search):
    search = {"beam_size": 1, "max_new_tokens": LONGEST} | search
    found = answer(model, collate(samples), drafts=drafts, **search)
    return [(best.token_ids, best.log_prob, best.num_tokens) for [best] in found]


def assert_same(ours, theirs):
    assert [ids for ids, _, _ in ours] == [ids for ids, _, _ in theirs]
    assert [n for _, _, n in ours] == [n for _, _, n in theirs]
    assert [p for _, p, _ in ours] == pytest.approx([p for _, p, _ in theirs], abs=1e-4)


def kinds_of_drafts(plain):
    """Right, right but for some places, of others, empty, garbage."""
    right = [list(ids) for ids, _, _ in plain]
    changed = [[*ids[:2], 17, *ids[3:]] for ids in right]
    longer = [[*ids[:1], 17, 18, *ids[1:], 19] for ids in right]
    shorter = [ids[:3] + ids[5:] for ids in right]
    garbage = torch.randint(3, VOCAB, (len(right), 30), generator=torch.Generator().manual_seed(0))
    return {
        "right": right,
        "changed": changed,
        "longer": longer,
        "shorter": shorter,
        "of others": right[1:] + right[:1],
        "empty": [[] for _ in right],
        "some": [ids if row % 2 else [] for row, ids in enumerate(right)],
        "ended": [[END, *ids] for ids in right],
        "garbage": garbage.tolist(),
    }


@pytest.fixture
def passes(monkeypatch):
    counts = []
    plain = module.answer_by_drafts

    def counted(*args, **options):
        counts.append(plain(*args, **options))

    monkeypatch.setattr("espnet_psslm.model.answer_by_drafts", counted)
    return counts


MODELS = {name: partial(build, architecture=name) for name in ARCHITECTURES}
MODELS |= {"lora": test_lora.build, "prefix": test_tuned_prefix.build}


@pytest.mark.parametrize("name", MODELS)
def test_no_draft_changes_an_answer(name, passes):
    model = MODELS[name]()
    plain = answers_of(model, SAMPLES)
    assert max(len(ids) for ids, _, _ in plain) > 3
    for token_ids in kinds_of_drafts(plain).values():
        together = answers_of(model, SAMPLES, Drafts(token_ids, no_word))
        assert_same(together, plain)
        for row, sample in enumerate(SAMPLES):
            alone = answers_of(model, [sample], Drafts(token_ids[row : row + 1], no_word))
            assert_same(alone, plain[row : row + 1])
    assert bool(passes) == (name not in COPIED)  # there the plain search answers


def test_a_right_draft_takes_one_pass(passes):
    model = build()
    plain = answers_of(model, SAMPLES)
    answers_of(model, SAMPLES, Drafts([list(ids) for ids, _, _ in plain], no_word))
    answers_of(model, SAMPLES, Drafts([[] for _ in plain], no_word))
    assert passes == [1, max(count for _, _, count in plain)]


def test_a_wrong_token_takes_one_pass_more(passes):
    model = build()
    plain = answers_of(model, SAMPLES[:1])
    ids = list(plain[0][0])
    assert len(ids) > 6
    answers_of(model, SAMPLES[:1], Drafts([[*ids[:3], 17, *ids[4:]]], no_word))
    answers_of(model, SAMPLES[:1], Drafts([[*ids[:3], 17, *ids[3:]]], no_word))
    assert passes[0] == 2 and passes[1] <= 3


@pytest.mark.parametrize("ratio", [0.5, 2.0, 30.0])
def test_longest_answers_are_kept_to(ratio, passes):
    model = build()
    plain = answers_of(model, SAMPLES, max_len_ratio=ratio)
    for token_ids in kinds_of_drafts(answers_of(model, SAMPLES)).values():
        found = answers_of(model, SAMPLES, Drafts(token_ids, no_word), max_len_ratio=ratio)
        assert_same(found, plain)
    assert passes


def test_a_draft_goes_on_where_it_fits_what_is_written():
    draft = [1, 2, 3, 4, 5]
    assert resume(draft, [], begins_word=no_word) == 0
    assert resume(draft, [1, 2], begins_word=no_word) == 2
    assert resume(draft, [1, 2, 9], begins_word=no_word) == 3  # another token in place of 3
    assert resume(draft, [1, 2, 9, 3], begins_word=no_word) == 3  # one that the draft lacks
    assert resume(draft, [1, 3], begins_word=no_word) == 3  # one that only the draft has
    # Of equally close places the one before a word: 9 may be the beginning of a longer word.
    assert resume(draft, [1, 2, 9], begins_word=lambda token: token == 3) == 2
