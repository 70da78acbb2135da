"""Results of long work, kept part by part: what is stopped goes on behind the last part."""

import json
import logging
import os
from pathlib import Path
from typing import Any

UNFINISHED = "unfinished.jsonl"  # what a run has found that has not come to its end


class KeptParts:
    """JSON Lines: what the parts belong to, then a part a line, each on disk once it is added.

    Args:
        path: the file; its folder is made. Parts that it holds already are in ``parts``, but for
            one that was not written to its end.
        belongs_to: hash of all that the parts depend on; those of another one are not used.
    """

    def __init__(self, path: str | Path, *, belongs_to: str) -> None:
        self.path = Path(path)
        self.parts: list[dict[str, Any]] = []
        header = json.dumps({"belongs_to": belongs_to}).encode() + b"\n"
        end = self._read(header) if self.path.is_file() else 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.stream = open(self.path, "r+b" if end else "wb")
        self.stream.truncate(end)
        self.stream.seek(end)
        if not end:
            self._write(header)

    def _read(self, header: bytes) -> int:
        """Read the parts; where the last one ends."""
        with open(self.path, "rb") as stream:
            if (first := stream.readline()) != header:
                if first.endswith(b"\n"):
                    logging.warning("%s: of another model, data or options, not used", self.path)
                return 0
            end = len(header)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                self.parts.append(json.loads(line))
                end += len(line)
        return end

    def add(self, part: dict[str, Any]) -> None:
        """Keep one more part.

        Args:
            part: what JSON can hold.
        """
        self._write(json.dumps(part).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        self.stream.write(line)
        self.stream.flush()
        os.fsync(self.stream.fileno())

    def remove(self) -> None:
        """Remove the file: all is written where it belongs."""
        self.stream.close()
        self.path.unlink()

    def __enter__(self) -> "KeptParts":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
