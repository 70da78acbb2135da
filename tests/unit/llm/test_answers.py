"""Answers: what generate returns, and the answers to pieces, joined."""

import math
from itertools import product
from types import SimpleNamespace

import pytest
import torch

from espnet_psslm.bridge.clarity import Clarity
from espnet_psslm.llm.answers import (
    UNASKED,
    Hypothesis,
    join_hypotheses,
    join_texts,
    read_answers,
)
from espnet_psslm.llm.confidence import Posterior, TokenMean

END = 1


class Output(SimpleNamespace):
    def __contains__(self, name):
        return name in vars(self)


def test_answers_of_a_beam_search():
    output = Output(
        sequences=torch.tensor([[5, 6, END, 0], [5, END, 0, 0], [7, 7, 7, 7], [END, 0, 0, 0]]),
        sequences_scores=torch.tensor([-1.5, -2.0, -3.0, -1e9]),
    )
    first, second = read_answers(output, end_id=END, num_best=2)
    assert [(a.token_ids, a.log_prob, a.num_tokens) for a in first] == [
        ((5, 6), -1.5, 3),
        ((5,), -2.0, 2),
    ]
    assert [(a.token_ids, a.num_tokens) for a in second] == [((7, 7, 7, 7), 4)]
    assert first[0].score == pytest.approx(-0.5)


def test_answers_of_a_greedy_search():
    logits = torch.tensor([[[0.0, 0.0], [0.0, math.log(3)]], [[0.0, math.log(3)], [5.0, 0.0]]])
    output = Output(
        sequences=torch.tensor([[0, END], [END, 0]]), logits=tuple(logits.transpose(0, 1))
    )
    (first,), (second,) = read_answers(output, end_id=END, num_best=1)
    assert (first.token_ids, first.num_tokens) == ((0,), 2)
    assert first.log_prob == pytest.approx(math.log(0.5 * 0.75))
    assert (second.token_ids, second.num_tokens) == ((), 1)  # what follows the end does not count
    assert second.log_prob == pytest.approx(math.log(0.75))


def test_score_of_what_was_not_asked():
    assert UNASKED.score == 0.0


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ("turn on", "the light", "turn on the light"),
        ("", "the light", "the light"),
        ("turn on", "", "turn on"),
        ("开灯", "关灯", "开灯关灯"),
        ("开灯", "ok", "开灯 ok"),
        ("불을", "켜", "불을 켜"),
    ],
)
def test_joined_texts(first, second, joined):
    assert join_texts(first, second) == joined


def hypothesis(text, log_prob, **more):
    return Hypothesis(text, (1, 2), log_prob, 3, **more)


def test_joined_answers_are_the_best_of_all_combinations():
    pieces = [
        [hypothesis("a", -0.1), hypothesis("b", -2.0), hypothesis("c", -2.1)],
        [hypothesis("x", -1.0), hypothesis("y", -1.05)],
        [hypothesis("p", -0.5), hypothesis("q", -0.7), hypothesis("r", -9.0)],
    ]
    every = sorted(
        (
            (sum(part.log_prob for part in parts), " ".join(part.text for part in parts))
            for parts in product(*pieces)
        ),
        reverse=True,
    )
    for num_best in (1, 3, 6):
        joined = join_hypotheses(pieces, num_best=num_best)
        assert [h.text for h in joined] == [text for _, text in every[:num_best]]
        assert [h.log_prob for h in joined] == pytest.approx([p for p, _ in every[:num_best]])
    best = joined[0]
    assert (best.num_tokens, best.token_ids) == (9, (1, 2) * 3)
    assert best.score == pytest.approx(best.log_prob / 9)


def test_one_piece_is_what_it_was():
    only = [hypothesis("a", -0.1), hypothesis("b", -2.0)]
    assert join_hypotheses([only], num_best=2) == only


def test_a_fallback_of_any_piece_is_said():
    pieces = [[hypothesis("a", -1.0)], [hypothesis("b", -1.0, fallback="repeats 5")]]
    assert join_hypotheses(pieces, num_best=1)[0].fallback == "repeats 5"


def test_confidences():
    answers = [
        Hypothesis("on", (3,), math.log(0.4), 2),
        Hypothesis("off", (4,), math.log(0.2), 2),
        Hypothesis("on", (5, 6), math.log(0.2), 3),
    ]
    assert TokenMean()(answers) == pytest.approx(math.sqrt(0.4))
    assert Posterior()(answers) == pytest.approx(0.75)
    heard = [Hypothesis("on", (), math.log(0.25), 2, "repeats 5")]
    assert TokenMean()(heard) == Posterior()(heard) == pytest.approx(0.5)
    empty = [Hypothesis("", (), 0.0, 0)]
    assert TokenMean()(empty) == Posterior()(empty) == 1.0
    unlikely = [Hypothesis("a", (3,), -2000.0, 1), Hypothesis("b", (4,), -2000.0, 1)]
    assert Posterior()(unlikely) == pytest.approx(0.5)  # no underflow


def test_joined_pieces_were_heard_as_clearly_as_the_whole():
    """Sums, as of the answers' probabilities: a long piece counts for more than a short one."""
    few, many = Clarity(math.log(0.5), 1), Clarity(9 * math.log(0.9), 9)
    pieces = [[hypothesis("a", -1.0, heard=few)], [hypothesis("b", -1.0, heard=many)]]
    [joined] = join_hypotheses(pieces, num_best=1)
    assert joined.heard.num_steps == 10
    assert joined.heard.probability == pytest.approx((0.5 * 0.9**9) ** 0.1)
    pieces[0] = [hypothesis("a", -1.0)]
    assert join_hypotheses(pieces, num_best=1)[0].heard is None
