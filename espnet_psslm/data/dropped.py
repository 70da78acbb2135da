"""The list of what data preparation left out, and the limit on it.

``dropped.txt`` in a data folder, tab-separated: id, reason, stage, "utt" or "row" (of the
manifest). It grows over the stages, so the limit holds for all of them together.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from espnet_psslm.atomic import atomic_text
from espnet_psslm.common.lines import read_lines

FILE_NAME = "dropped.txt"
UTTERANCE, ROW = "utt", "row"


@dataclass(frozen=True)
class Dropped:
    """One utterance or manifest row that was left out."""

    name: str  # utterance id; FILE:LINE of a row
    reason: str
    stage: int
    kind: str  # UTTERANCE or ROW


def read_dropped(folder: str | Path) -> list[Dropped]:
    """Read the list of a data folder.

    Args:
        folder: the data folder.

    Returns:
        The entries, none if there is no list.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return []
    entries = []
    for _, line in read_lines(path):
        name, reason, stage, kind = line.split("\t")
        entries.append(Dropped(name, reason, int(stage), kind))
    return entries


def write_dropped(folder: str | Path, entries: Iterable[Dropped]) -> None:
    """Write the list of a data folder.

    Args:
        folder: the data folder.
        entries: what was left out, over all stages so far.
    """
    lines = (f"{e.name}\t{' '.join(e.reason.split())}\t{e.stage}\t{e.kind}\n" for e in entries)
    atomic_text(Path(folder) / FILE_NAME, "".join(lines))


def check_limit(
    entries: Collection[Dropped],
    *,
    kind: str,
    num_kept: int,
    max_dropped: float,
    folder: str | Path,
) -> None:
    """Stop where too much was left out.

    Args:
        entries: what was left out, over all stages so far.
        kind: UTTERANCE or ROW: what is counted.
        num_kept: how many of that kind are left.
        max_dropped: largest share that may be left out.
        folder: the data folder, for the message.

    Raises:
        ValueError: if the share is above the limit or nothing is left.
    """
    chosen = [entry for entry in entries if entry.kind == kind]
    total = len(chosen) + num_kept
    what = "utterances" if kind == UTTERANCE else "manifest rows"
    listed = Path(folder) / FILE_NAME
    if num_kept == 0 or len(chosen) > max_dropped * total:
        first = f", the first {chosen[0].name}: {chosen[0].reason}" if chosen else ""
        raise ValueError(
            f"{folder}: {len(chosen)} of {total} {what} cannot be used{first}; more than "
            f"{max_dropped:.2%} (--max_dropped) stops here: see {listed}, correct the data or "
            "raise the limit"
        )
