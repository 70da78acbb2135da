"""Answers of a decoding that may be stopped: what is found is not looked for again."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from espnet_psslm.common.kept_parts import KeptParts
from espnet_psslm.inference.decoded import Decoded

Row = Mapping[str, Any]


class KeptAnswers:
    """Answers to windows of rows, which are the same rows in every run.

    Args:
        parts: where they are kept.
        rows: all that are to be answered, of every task.
    """

    def __init__(self, parts: KeptParts, rows: Iterable[Row]) -> None:
        self.parts = parts
        self.windows = {part["first"]: Decoded.from_json(part["decoded"]) for part in parts.parts}
        self.known = {
            key for found in self.windows.values() for key in (*found.nbest, *found.skipped)
        }
        self.wanted = self._wanted([row for row in rows if "path" in row])

    def _wanted(self, rows: Sequence[Row]) -> set[str]:
        """Audio that rows without an answer may hear as other rows have heard it."""
        wanted = {row["path"] for row in rows if row["key"] not in self.known}
        if not wanted:
            return set()
        # What a task hears more than once is in its batches the first time alone.
        counts = Counter((row["task"], row["path"]) for row in rows)
        return wanted | {path for (_, path), count in counts.items() if count > 1}

    def find(self, rows: Sequence[Row]) -> Decoded | None:
        """What is kept of a window of rows."""
        return self.windows.get(rows[0]["key"])

    def add(self, rows: Sequence[Row], decoded: Decoded) -> None:
        """Keep what became of a window of rows."""
        self.parts.add({"first": rows[0]["key"], "decoded": decoded.to_json()})
