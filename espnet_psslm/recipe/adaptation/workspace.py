"""The folder of one adaptation: a run that was stopped goes on where it was, another is refused."""

import shutil
from collections.abc import Collection
from pathlib import Path

from espnet_psslm.atomic import atomic_text
from espnet_psslm.common.json_files import write_jsonl
from espnet_psslm.data.manifest import Row


class Workspace:
    """Folder beside the new model, removed when that is there.

    Args:
        output: archive that will be written.
        made_of: everything that the result depends on.

    Raises:
        ValueError: if the folder is of another adaptation.
    """

    def __init__(self, output: Path, made_of: str) -> None:
        self.folder = self.folder_of(output)
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / "made_of.txt"
        if note.exists() and note.read_text(encoding="utf-8") != made_of:
            raise ValueError(
                f"{self.folder} holds an unfinished adaptation of another model, text or option: "
                f"remove it (rm -r {self.folder}), or choose another --output"
            )
        self.write("made_of.txt", made_of)

    @staticmethod
    def folder_of(output: Path) -> Path:
        """Where an adaptation keeps its files until the archive is there."""
        return output.with_suffix(".adapt")

    def write(self, name: str, text: str) -> Path:
        """Write a file of the folder, whole or not at all."""
        path = self.folder / name
        atomic_text(path, text)
        return path

    def write_rows(self, name: str, rows: Collection[Row]) -> Path:
        """Write JSON Lines."""
        path = self.folder / name
        write_jsonl(path, rows)
        return path

    def remove(self) -> None:
        """All of it."""
        shutil.rmtree(self.folder)
