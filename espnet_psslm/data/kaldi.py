"""Kaldi-style tables: one utterance a line, its id first."""

import re
from collections.abc import Mapping
from pathlib import Path

from espnet_psslm.atomic import atomic_text
from espnet_psslm.common.files import check_file
from espnet_psslm.common.lines import read_lines


def read_table(path: str | Path) -> dict[str, str]:
    """Read ``wav.scp``, ``text``, ``utt2spk`` and the like.

    Args:
        path: the file.

    Returns:
        Value by utterance id, "" where a line has the id only.

    Raises:
        ValueError: if the file is missing or no UTF-8, or an utterance is there twice.
    """
    check_file(path, fix="run the stage that makes it")
    table: dict[str, str] = {}
    for number, line in read_lines(path):
        if not line.strip():
            continue
        utt_id, *value = line.strip().split(maxsplit=1)
        if utt_id in table:
            raise ValueError(
                f"{path}:{number}: utterance {utt_id} was there before; "
                "give every utterance an id of its own"
            )
        table[utt_id] = value[0] if value else ""
    return table


def read_counts(path: str | Path) -> dict[str, int]:
    """Read ``utt2num_samples``.

    Args:
        path: the file.

    Returns:
        Number by utterance id.

    Raises:
        ValueError: as :func:`read_table`; and naming the utterance, for what is no number.
    """
    counts: dict[str, int] = {}
    for utt_id, value in read_table(path).items():
        if not re.fullmatch(r"[0-9]{1,18}", value):
            raise ValueError(
                f"{path}: utterance {utt_id} has {value!r} in place of a number of samples; run "
                "stage 3 again"
            )
        counts[utt_id] = int(value)
    return counts


def recog_folder(folder: str | Path, rank: int = 0) -> Path:
    """Where ESPnet keeps the answers of a rank, of which 0 is the best."""
    return Path(folder) / f"{rank + 1}best_recog"


def check_corpus_path(path: str) -> str:
    """Take a path that a corpus names, which shall stand in ``wav.scp``.

    Args:
        path: as the corpus has it.

    Returns:
        The same path.

    Raises:
        ValueError: if it would be a command there, or more than one line.
    """
    if path.rstrip().endswith("|"):
        raise ValueError(f"{path!r} ends in '|', as commands do in wav.scp; rename the file")
    if not path or "\n" in path or "\r" in path:
        raise ValueError(f"{path!r} is not one line; rename the file")
    return path


def write_table(path: str | Path, table: Mapping[str, object]) -> None:
    """Write a table, sorted by utterance id as Kaldi's and ESPnet's tools expect.

    Args:
        path: the file, whole or not at all.
        table: value by utterance id.
    """
    write_in_order(path, dict(sorted(table.items())))


def write_in_order(path: str | Path, table: Mapping[str, object]) -> None:
    """Write a table as it comes.

    Args:
        path: the file, whole or not at all.
        table: value by utterance id or key.
    """
    lines = (f"{key} {value}".rstrip() + "\n" for key, value in table.items())
    atomic_text(path, "".join(lines))


def write_speakers(folder: str | Path, utt2spk: Mapping[str, str]) -> None:
    """Write ``utt2spk`` and ``spk2utt``.

    Args:
        folder: an existing data folder.
        utt2spk: speaker by utterance id.
    """
    spk2utt: dict[str, list[str]] = {}
    for utt_id in sorted(utt2spk):
        spk2utt.setdefault(utt2spk[utt_id], []).append(utt_id)
    write_table(Path(folder) / "utt2spk", utt2spk)
    write_table(Path(folder) / "spk2utt", {spk: " ".join(ids) for spk, ids in spk2utt.items()})
