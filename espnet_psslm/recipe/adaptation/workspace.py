"""The folder of one adaptation: a run that was stopped goes on where it was, another is refused."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from espnet_psslm.atomic import atomic_text


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

    def write_rows(self, name: str, rows: Iterable[dict]) -> Path:
        """Write JSON Lines."""
        return self.write(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def remove(self) -> None:
        """All of it."""
        shutil.rmtree(self.folder)


def digest_of(paths: Iterable[Path], options: object) -> str:
    """Hash of files' contents and of options."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
