"""What decoding gives, and the same as JSON, which keeps every number exactly."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from espnet_psslm.bridge.clarity import Clarity
from espnet_psslm.llm.answers import Hypothesis


@dataclass
class Decoded:
    """What became of some rows."""

    # By key, in the order of the rows; best first.
    nbest: dict[str, list[Hypothesis]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)  # key -> why its row could not be used
    # Duration of the audio that was read; what was remembered does not count.
    audio_s: float = 0.0
    # Of the best answer by key; empty where none is asked for.
    confidence: dict[str, float] = field(default_factory=dict)
    num_cut: int = 0  # rows that were answered in pieces
    wall_s: float = 0.0  # from audio to text

    @property
    def hypotheses(self) -> dict[str, Hypothesis]:
        """The best answer to each row."""
        return {key: answers[0] for key, answers in self.nbest.items()}

    def ranked(self, rank: int) -> dict[str, Hypothesis]:
        """Answer of that rank to each row that has so many; rank 0 is the best."""
        return {key: found[rank] for key, found in self.nbest.items() if rank < len(found)}

    def add(self, more: "Decoded") -> None:
        """Put what became of further rows behind."""
        self.nbest |= more.nbest
        self.skipped |= more.skipped
        self.audio_s += more.audio_s
        self.confidence |= more.confidence
        self.num_cut += more.num_cut
        self.wall_s += more.wall_s

    def to_json(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        nbest = {key: [_values(answer) for answer in found] for key, found in self.nbest.items()}
        return vars(self) | {"nbest": nbest}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Decoded":
        """What :meth:`to_json` was called of."""
        nbest = {key: [_hypothesis(*v) for v in found] for key, found in values["nbest"].items()}
        return cls(**values | {"nbest": nbest})


def _values(answer: Hypothesis) -> list[Any]:
    heard = answer.heard and [answer.heard.log_prob, answer.heard.num_steps]
    return [
        *(answer.text, answer.token_ids, answer.log_prob, answer.num_tokens, answer.fallback, heard)
    ]


def _hypothesis(
    text: str,
    token_ids: Sequence[int],
    log_prob: float,
    num_tokens: int,
    fallback: str,
    heard: Sequence[Any] | None,
) -> Hypothesis:
    clarity = None if heard is None else Clarity(*heard)
    return Hypothesis(text, tuple(token_ids), log_prob, num_tokens, fallback, heard=clarity)
