"""Lists of what cannot be used, tab-separated, and the limits on them.

``dropped.txt`` in a data folder: utterance id or FILE:LINE of a manifest's row, reason, stage, and
"utt" or "row". It grows over the stages, so the limit holds for all of them together.
``skipped.txt`` beside results: utterance id or key, and reason.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from espnet_psslm.atomic import atomic_text
from espnet_psslm.common.lines import read_lines

DROPPED, SKIPPED = "dropped.txt", "skipped.txt"
UTTERANCE, ROW = "utt", "row"
NUM_LOGGED = 5  # dropped entries that are logged one by one


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
    path = Path(folder) / DROPPED
    if not path.is_file():
        return []
    rows = [line.split("\t") for _, line in read_lines(path)]
    return [Dropped(name, reason, int(stage), kind) for name, reason, stage, kind in rows]


def write_dropped(folder: str | Path, entries: Iterable[Dropped]) -> None:
    """Write the list of a data folder.

    Args:
        folder: the data folder.
        entries: what was left out, over all stages so far.
    """
    _write(Path(folder) / DROPPED, map(astuple, entries))


def say_dropped(entries: Sequence[Dropped], folder: str | Path) -> None:
    """Log the first entries of a list.

    Args:
        entries: what was left out.
        folder: the data folder.
    """
    for entry in entries[:NUM_LOGGED]:
        logging.warning("%s: dropped %s: %s", folder, entry.name, entry.reason)
    if len(entries) > NUM_LOGGED:
        logging.warning("and %d more, see %s/%s", len(entries) - NUM_LOGGED, folder, DROPPED)


def check_dropped(
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
    left_out = [(entry.name, entry.reason) for entry in entries if entry.kind == kind]
    total = len(left_out) + num_kept
    if num_kept == 0 or len(left_out) > max_dropped * total:
        what = "utterances" if kind == UTTERANCE else "manifest rows"
        limit = f"{max_dropped:.2%} (--max_dropped)"
        raise _too_many(left_out, f"{total} {what}", limit, Path(folder) / DROPPED)


def write_skipped(folder: str | Path, skipped: Mapping[str, str]) -> None:
    """List what results lack, and log it.

    Args:
        folder: of the results.
        skipped: key -> reason.
    """
    _write(Path(folder) / SKIPPED, skipped.items())
    for key, reason in skipped.items():
        logging.warning("skipped '%s': %s", key, reason)


def check_skipped(folder: str | Path, *, num_rows: int, max_skipped: float) -> None:
    """Judge what results lack.

    Args:
        folder: where ``skipped.txt`` lists it.
        num_rows: all rows.
        max_skipped: share of them that may be unusable.

    Raises:
        ValueError: if they are more.
    """
    path = Path(folder) / SKIPPED
    left_out = [line.split("\t") for _, line in read_lines(path)]
    if len(left_out) > max_skipped * num_rows:
        raise _too_many(left_out, f"{num_rows} rows", f"{max_skipped:.2%} (--max_skipped)", path)


def _write(path: Path, rows: Iterable[tuple[object, ...]]) -> None:
    lines = []
    for name, reason, *more in rows:
        lines.append("\t".join(map(str, (name, " ".join(reason.split()), *more))) + "\n")
    atomic_text(path, "".join(lines))


def _too_many(
    left_out: Sequence[Sequence[str]], of_what: str, limit: str, path: Path
) -> ValueError:
    first = f", the first {left_out[0][0]}: {left_out[0][1]}" if left_out else ""
    return ValueError(
        f"{len(left_out)} of {of_what} cannot be used{first}; more than {limit} stops here: see "
        f"{path}, correct the data or raise the limit"
    )
