"""SLURP's metrics (arXiv 2011.13205): scenario, action, intent, entities, SLU-F1.

All are micro-F1. Entities count as right where type and filler are the gold ones. The two distance
metrics forgive a filler that was misheard by as little as it was misheard: a predicted entity is
paired with the nearest gold one of its type, at distance d, and counts one true positive, d false
positives and d false negatives; d is the word error rate of the filler, or its Levenshtein
distance in characters over the longer length. SLU-F1 adds the counts of both.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import editdistance
import numpy as np

from espnet_psslm.score.base import Score, check_keys
from espnet_psslm.score.bootstrap import ratio_interval
from espnet_psslm.text.slu_answer import SLUAnswer, parse_answer

Entities = Sequence[tuple[str, str]]
METRICS = (
    *("scenario", "action", "intent"),
    *("entities", "entities_word", "entities_char", "slu_f1"),
)


@dataclass(frozen=True)
class F1:
    """Micro-F1 with its counts; true positives of distance metrics are whole, the others not."""

    precision: float
    recall: float
    f1: float
    num_tp: float
    num_fp: float
    num_fn: float

    @classmethod
    def of(cls, counts: np.ndarray) -> "F1":
        """From (3,) true positives, false positives, false negatives; 0 / 0 is 0."""
        tp, fp, fn = (float(count) for count in counts)
        precision, recall = (tp / (tp + other) if tp else 0.0 for other in (fp, fn))
        f1 = 2 * precision * recall / (precision + recall) if tp else 0.0
        return cls(precision, recall, f1, tp, fp, fn)


@dataclass(frozen=True)
class SLUScore(Score):
    """Scores of one set; what is missing finds nothing."""

    num_unparsable: int  # hypotheses that are no answer, counted likewise
    metrics: Mapping[str, F1]  # METRICS
    intervals: Mapping[str, tuple[float, float] | None]  # of each F1; None: nothing to count
    majority: Mapping[str, float]  # share of the most frequent scenario, action, intent


def parse_answers[Key](lines: Mapping[Key, str]) -> dict[Key, SLUAnswer | None]:
    """Read what a model wrote.

    Args:
        lines: utterance -> line.

    Returns:
        utterance -> answer, None where the line is none.
    """
    answers: dict[Key, SLUAnswer | None] = {}
    for key, line in lines.items():
        try:
            answers[key] = parse_answer(line)
        except ValueError:
            answers[key] = None
    return answers


def f1_terms(refs: Sequence[str], hyps: Sequence[str]) -> np.ndarray:
    """What SLU-F1 is the quotient of, by utterance: 2 TP, and 2 TP + FP + FN.

    Args:
        refs: right lines.
        hyps: lines in the same order; one that is no answer finds nothing.

    Returns:
        (n_utts, 2); the quotient of its sums is SLU-F1.
    """
    found = parse_answers(dict(enumerate(hyps)))
    right = map(parse_answer, refs)
    counts = [_count(answer, found[index]) for index, answer in enumerate(right)]
    return _f1_terms(np.stack(counts)[:, METRICS.index("slu_f1")])


def _f1_terms(counts: np.ndarray) -> np.ndarray:
    """(n_utts, 3) true positives, false positives, false negatives to what F1 is a quotient of."""
    tp, fp, fn = counts.T
    return np.stack([2 * tp, 2 * tp + fp + fn], axis=1)


def slu_score_of_lines(refs: Mapping[str, str], hyps: Mapping[str, str], *, seed: int) -> SLUScore:
    """Score lines of task SLU_entities; see :func:`slu_score`.

    Raises:
        ValueError: as there, and for a reference that is no answer.
    """
    right = {key: parse_answer(line) for key, line in refs.items()}
    return slu_score(right, parse_answers(hyps), seed=seed)


def slu_score(
    refs: Mapping[str, SLUAnswer], hyps: Mapping[str, SLUAnswer | None], *, seed: int
) -> SLUScore:
    """Score answers.

    Args:
        refs: utterance -> right answer.
        hyps: utterance -> answer; None (unparsable) and a missing one find nothing, so that all
            of the reference counts as false negative.
        seed: of the bootstrap.

    Returns:
        All metrics.

    Raises:
        ValueError: for a hypothesis without a reference, or where neither side has an entity.
    """
    check_keys(refs, hyps)
    keys = sorted(refs)
    counts = np.stack([_count(refs[key], hyps.get(key)) for key in keys]) if keys else None
    if counts is None or not counts[:, METRICS.index("slu_f1")].any():
        raise ValueError(f"{len(keys)} references and their hypotheses have no entity to score")
    metrics = dict(zip(METRICS, map(F1.of, counts.sum(axis=0)), strict=True))
    intervals = {name: _interval(counts[:, index], seed=seed) for index, name in enumerate(METRICS)}
    return SLUScore(
        metric="slu_f1",
        rate=metrics["slu_f1"].f1,
        ci95=intervals["slu_f1"],
        num_utts=len(keys),
        num_missing=len(refs.keys() - hyps.keys()),
        num_unparsable=sum(answer is None for answer in hyps.values()),
        metrics=metrics,
        intervals=intervals,
        majority={
            name: max(Counter(map(label, refs.values())).values()) / len(keys)
            for name, label in LABELS.items()
        },
    )


def _interval(counts: np.ndarray, *, seed: int) -> tuple[float, float] | None:
    """Bootstrap interval of micro-F1 from (n_utts, 3) counts; None where all are 0."""
    return ratio_interval(_f1_terms(counts), seed=seed) if counts.any() else None


def _count(ref: SLUAnswer, hyp: SLUAnswer | None) -> np.ndarray:
    """(metrics, 3) true positives, false positives, false negatives of one utterance."""
    labels = [
        _count_label(getattr(ref, name), None if hyp is None else getattr(hyp, name))
        for name in ("scenario", "action")
    ]
    intent = _count_label(_intent(ref), None if hyp is None else _intent(hyp))
    entities = () if hyp is None else hyp.entities
    word = _count_near(ref.entities, entities, word_distance)
    char = _count_near(ref.entities, entities, char_distance)
    both = [w + c for w, c in zip(word, char, strict=True)]
    exact = _count_equal(ref.entities, entities)
    return np.array([*labels, intent, exact, word, char, both], dtype=np.float64)


def _intent(answer: SLUAnswer) -> str:
    return f"{answer.scenario}_{answer.action}"


LABELS: Mapping[str, Callable[[SLUAnswer], str]] = {
    "scenario": lambda answer: answer.scenario,
    "action": lambda answer: answer.action,
    "intent": _intent,
}


def _count_label(ref: str, hyp: str | None) -> tuple[int, int, int]:
    if hyp is None:
        return 0, 0, 1
    return (1, 0, 0) if ref == hyp else (0, 1, 1)


def _count_equal(ref: Entities, hyp: Entities) -> tuple[int, int, int]:
    left = list(ref)
    for entity in hyp:
        if entity in left:
            left.remove(entity)
    num_right = len(ref) - len(left)
    return num_right, len(hyp) - num_right, len(left)


def _count_near(
    ref: Entities, hyp: Entities, distance: Callable[[str, str], float]
) -> tuple[float, float, float]:
    left = list(ref)
    tp = fp = fn = 0.0
    for kind, filler in hyp:
        candidates = [(distance(gold[1], filler), gold) for gold in left if gold[0] == kind]
        if not candidates:
            fp += 1
            continue
        d, nearest = min(candidates, key=lambda candidate: candidate[0])
        left.remove(nearest)
        tp, fp, fn = tp + 1, fp + d, fn + d
    return tp, fp, fn + len(left)


def word_distance(ref: str, hyp: str) -> float:
    """Word error rate of a filler; it may exceed 1. An empty gold filler counts as one word."""
    return editdistance.eval(ref.split(), hyp.split()) / max(1, len(ref.split()))


def char_distance(ref: str, hyp: str) -> float:
    """Levenshtein distance of two fillers over the longer length."""
    return editdistance.eval(ref, hyp) / max(1, len(ref), len(hyp))
