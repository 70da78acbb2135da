"""Which samples fit into the language model's window: prompt, speech and target together."""

import logging
from collections.abc import Sequence

from torch import Tensor, nn


def window_of(lm: nn.Module) -> int | None:
    """Positions that a language model has; None: no limit is known."""
    return getattr(lm.config.get_text_config(), "max_position_embeddings", None)


class Window:
    """Leaves out of training what is longer, and names it once.

    The model has learned nothing about positions beyond, and some have none there.

    Args:
        prefixes: token ids of each prompt's constant prefix.
    """

    def __init__(self, prefixes: Sequence[Sequence[int]]) -> None:
        self.prefix_lengths = [len(prefix) for prefix in prefixes]
        self.left_out: set[str] = set()  # keys

    def fitting(
        self,
        window: int | None,
        segments: Sequence[tuple[Tensor, Tensor]],
        prompt_index: Sequence[int],
        utt_id: Sequence[str],
    ) -> list[int]:
        """Rows of a batch that fit.

        Args:
            window: positions; None: all fit.
            segments: (B, S, H) and lengths (B,) of all that stands behind the prefix.
            prompt_index: (B,), prompt of each sample.
            utt_id: their keys.
        """
        rows = list(range(len(utt_id)))
        prefixes = [self.prefix_lengths[index] for index in prompt_index]
        # Padding counts: a bound that asks the device for nothing, and nearly always suffices.
        if window is None or max(prefixes) + sum(v.shape[1] for v, _ in segments) <= window:
            return rows
        behind = sum(lengths for _, lengths in segments).tolist()
        total = [prefix + count for prefix, count in zip(prefixes, behind, strict=True)]
        new = {utt_id[row]: total[row] for row in rows if total[row] > window}
        new = {key: length for key, length in new.items() if key not in self.left_out}
        self.left_out |= new.keys()
        if new:
            logging.warning(
                "left out, longer than the language model's window of %d positions: %s; %d in all",
                window, ", ".join(f"{key} ({length})" for key, length in new.items()),
                len(self.left_out),
            )  # fmt: skip
        return [row for row in rows if total[row] <= window]
