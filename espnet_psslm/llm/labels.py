"""Answers that keep to a list of labels: a trie of the labels' tokens bounds the search.

The probabilities stay those of the free language model, so that scores with and without the list
can be compared; what no label begins with has none.

Legend: R = rows * beams, L tokens written.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class LabelTrie:
    """Labels by their tokens.

    Args:
        labels: token ids of each label, without the end of turn -> its text.
        end_id: the end of turn, which ends every label.

    Raises:
        ValueError: if there is no label, or one is empty.
    """

    def __init__(self, labels: Mapping[tuple[int, ...], str], *, end_id: int) -> None:
        if not labels or () in labels:
            raise ValueError(f"labels {list(labels.values())}: needs some, none of them empty")
        self.labels = dict(labels)
        self.longest = 1 + max(map(len, labels))  # tokens, end of turn included
        following: dict[tuple[int, ...], set[int]] = {}
        for ids in labels:
            for place, token in enumerate((*ids, end_id)):
                following.setdefault(ids[:place], set()).add(token)
        self._following = {ids: sorted(tokens) for ids, tokens in following.items()}

    def following(self, token_ids: Sequence[int]) -> list[int]:
        """Tokens that may stand behind these; none behind what begins no label."""
        return self._following.get(tuple(token_ids), [])

    def text(self, token_ids: Sequence[int]) -> str:
        """The label of these tokens."""
        return self.labels[tuple(token_ids)]


def build_trie(
    labels: Sequence[str], *, encode: Callable[[str], Sequence[int]], end_id: int
) -> LabelTrie:
    """The trie of some labels.

    Args:
        labels: texts.
        encode: to token ids, as targets are encoded in training.
        end_id: the end of turn.

    Raises:
        ValueError: see ``LabelTrie``.
    """
    return LabelTrie({tuple(encode(label)): label for label in labels}, end_id=end_id)


class KeepToLabels(LogitsProcessor):
    """Gives no probability to what leaves the labels of a row.

    Args:
        tries: (R,), None for rows that may answer freely.
    """

    def __init__(self, tries: Sequence[LabelTrie | None]) -> None:
        self.tries = tries

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (R, tokens) of the token behind ``input_ids`` (R, L)."""
        blocked = torch.zeros_like(scores, dtype=torch.bool)
        for row, (trie, ids) in enumerate(zip(self.tries, input_ids.tolist(), strict=True)):
            if trie is not None:
                blocked[row] = True
                blocked[row, trie.following(ids)] = False
        return scores.masked_fill(blocked, -torch.inf)
