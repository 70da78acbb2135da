"""A guard against hallucination: where the language model leaves what CTC heard, CTC's text stands.

A language model that was not sure of what it heard writes something likely instead, or repeats
itself. CTC writes what it heard, frame by frame. Both read the same Steps, so they can be compared
for nothing: the greedy CTC text is the best unit of each step.

Legend: B batch, U steps, K listed units per step.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import editdistance

from espnet_psslm.bridge.clarity import Clarity, clarity_of
from espnet_psslm.bridge.phone_sync import Reduction
from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.text.normalize import normalize_text
from espnet_psslm.text.units import Units
from espnet_psslm.text.words import spell_words


@dataclass(frozen=True)
class StepUnits:
    """Greedy CTC search over the Steps of one utterance."""

    unit_ids: list[int]
    clarity: Clarity


def greedy_units(steps: PosteriorSteps, *, blank_id: int, merged: bool) -> list[StepUnits]:
    """The best unit of each step, blanks left out.

    Args:
        steps: of a batch.
        blank_id: the CTC blank.
        merged: whether a step is a whole run of its unit (phone-synchronous reduction); else
            neighbours of one unit are merged here, as CTC does with frames.
    """
    unit_ids = steps.best_units().tolist()
    found = []
    for row, clarity in zip(unit_ids, clarity_of(steps), strict=True):
        row = row[: clarity.num_steps]
        kept = [
            unit
            for place, unit in enumerate(row)
            if unit != blank_id and (merged or place == 0 or unit != row[place - 1])
        ]
        found.append(StepUnits(kept, clarity))
    return found


def ctc_texts(
    steps: PosteriorSteps, *, units: Units, reduction: Reduction
) -> list[tuple[str, Clarity]]:
    """CTC's greedy text of each utterance, and how clearly it was heard.

    Args:
        steps: of a batch.
        units: the CTC vocabulary.
        reduction: what made the steps of frames.
    """
    heard = greedy_units(steps, blank_id=reduction.blank_id, merged=reduction.merges_runs)
    return [(units.decode(one.unit_ids).strip(), one.clarity) for one in heard]


@dataclass(frozen=True)
class Guard:
    """When an answer falls back to CTC's text.

    Args:
        tasks: which answers are transcripts, to be compared with CTC's.
        max_distance: largest normalised edit distance to CTC's text: edits of characters, white
            space apart, by the characters of the longer text.
        max_repeats: how often in a row an answer may say the same, one word or several, unless CTC
            heard it as often.

    Raises:
        ValueError: if a limit has no sense.
    """

    tasks: Collection[str]
    max_distance: float = 0.5
    max_repeats: int = 3

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_distance <= 1.0:
            raise ValueError(f"guard_distance ({self.max_distance}) must lie in [0, 1]")
        if self.max_repeats < 1:
            raise ValueError(f"guard_repeats ({self.max_repeats}) must be at least 1")

    def reason(self, answer: str, ctc: str) -> str:
        """Why an answer is not to be trusted; empty where it is."""
        distance = normalised_distance(answer, ctc)
        if distance > self.max_distance:
            return f"distance {distance:.3f}"
        repeats = longest_loop(answer)
        if repeats > self.max_repeats and repeats > longest_loop(ctc):
            return f"repeats {repeats}"
        return ""


def normalised_distance(first: str, second: str) -> float:
    """Levenshtein distance of two normalised texts by the longer one's length; in characters.

    White space does not count: languages write it differently, and it is not heard.
    """
    first, second = ("".join(normalize_text(text).split()) for text in (first, second))
    longer = max(len(first), len(second))
    return editdistance.eval(first, second) / longer if longer else 0.0


def longest_loop(text: str) -> int:
    """How often in a row a text says the same at most: 3 for "a b on on on" and for "a b a b a b".

    Words count, or characters where no space is written between words (Chinese, Japanese).
    """
    items = spell_words(normalize_text(text))
    periods = range(1, len(items) // 2 + 1)
    return max((_times(items, period) for period in periods), default=min(len(items), 1))


def _times(items: Sequence[str], period: int) -> int:
    """How often in a row some ``period`` items are repeated."""
    longest = run = 0
    for place in range(period, len(items)):
        run = run + 1 if items[place] == items[place - period] else 0
        longest = max(longest, run)
    return longest // period + 1
