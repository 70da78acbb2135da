"""What the score of every metric says, and what every metric asks of its two sides."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Score:
    """Score of one set; all rates are fractions."""

    metric: str
    rate: float
    ci95: tuple[float, float]  # bootstrap interval by utterance
    num_utts: int
    num_missing: int  # references without a hypothesis, counted as empty ones

    def as_dict(self) -> dict[str, Any]:
        """Return plain types for JSON."""
        return {**asdict(self), "ci95": list(self.ci95)}


def check_keys(refs: Mapping[str, object], hyps: Mapping[str, object]) -> None:
    """Refuse hypotheses that have no reference.

    Args:
        refs: utterance -> reference.
        hyps: utterance -> hypothesis.

    Raises:
        ValueError: naming one such utterance.
    """
    unknown = hyps.keys() - refs.keys()
    if unknown:
        raise ValueError(
            f"{len(unknown)} hypotheses have no reference, e.g. {min(unknown)!r}: "
            "hypotheses and references must come from one set (score --unknown left_out does "
            "without them)"
        )


def in_order(refs: Mapping[str, str], hyps: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Put the texts of both sides in the order of their keys.

    Args:
        refs: utterance -> reference.
        hyps: utterance -> hypothesis.

    Returns:
        References, and their hypotheses; one that is missing is empty.

    Raises:
        ValueError: without references, or for a hypothesis without a reference.
    """
    if not refs:
        raise ValueError("no references: nothing to score against")
    check_keys(refs, hyps)
    keys = sorted(refs)
    return [refs[key] for key in keys], [hyps.get(key, "") for key in keys]
