"""The text of a domain: sentences and, where they are known, answers to further tasks.

One sentence a line (plain text), or JSON Lines::

    {"text": "two flat whites to go please"}
    {"text": "two flat whites to go please", "task": "SLU_action", "target": "order"}

Rows of a manifest do as well (``GT`` is the text). Every sentence is a transcript to learn, if the
model has the task ASR; it need not be repeated as a row of its own.
"""

import logging
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_psslm.common.files import check_file
from espnet_psslm.common.json_files import read_objects
from espnet_psslm.common.lines import read_lines
from espnet_psslm.data.manifest import Row
from espnet_psslm.text.normalize import normalize_text
from espnet_psslm.text.tasks import ASR
from espnet_psslm.text.units import Units

FEWEST = 20  # sentences; some are held out
HELD_OUT_SHARE, MAX_HELD_OUT = 0.1, 200  # of the sentences
MAX_LACKING = 0.01  # share of characters that the units cannot write
FORM = 'a row is {"text": "what is said", "task": "SLU_action", "target": "the answer"}'
KNOWN = ("text", "GT", "task", "target")  # fields that become others; the rest is carried along


@dataclass(frozen=True)
class Domain:
    """Rows of a manifest, by what they are for; no sentence is in both."""

    train: list[Row]
    held_out: list[Row]

    def labels(self, task: str) -> set[str]:
        """Answers of a task."""
        return {row["target"] for row in [*self.train, *self.held_out] if row["task"] == task}


def read_domain(
    path: str | Path, *, units: Units, tasks: Sequence[str], language: str = "en"
) -> Domain:
    """Read a domain's text and hold a tenth of its sentences out.

    Args:
        path: text file, or JSON Lines (``.jsonl``, ``.json``).
        units: of the acoustic model.
        tasks: that the model has prompts for.
        language: of the sentences, for their normalisation.

    Raises:
        ValueError: at the first row that cannot be used: file, line number, fix; if there are too
            few sentences; if the units cannot write them.
    """
    path = Path(path)
    rows: dict[tuple[str, str, str], Row] = {}
    num_read = 0
    for number, row in _parse(path):
        try:
            row = _check(row, tasks=tasks, language=language)
            if not _has_units(row["GT"], units):
                raise ValueError(f"the acoustic model has no unit for {row['GT']!r}; remove it")
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        rows.setdefault((row["GT"], row["task"], row["target"]), row)
        num_read += 1
    if num_read > len(rows):
        logging.info("%s: %d rows come again and are left out", path, num_read - len(rows))
    sentences = sorted({row["GT"] for row in rows.values()})
    if len(sentences) < FEWEST:
        raise ValueError(
            f"{path}: {len(sentences)} different sentences; write at least {FEWEST}, a tenth of "
            "which is held out"
        )
    check_characters(sentences, units=units, source=path)
    found = list(rows.values())
    if ASR in tasks:
        transcribed = {row["GT"] for row in found if row["task"] == ASR}
        found += [_row(text, ASR, text) for text in sentences if text not in transcribed]
    return _split([row | {"key": f"new{i:06d}"} for i, row in enumerate(found)], sentences)


def check_characters(sentences: Sequence[str], *, units: Units, source: str | Path) -> None:
    """Count the characters that the acoustic model cannot write; few are said, many refused.

    Args:
        sentences: normalised.
        units: of the acoustic model.
        source: of the sentences, for the message.

    Raises:
        ValueError: if more than one character in a hundred is such a one.
    """
    counts = Counter("".join(sentences).replace(" ", ""))
    lacking = {c: n for c, n in counts.most_common() if units.unk_id in units.encode(c)}
    if not lacking:
        return
    share = sum(lacking.values()) / counts.total()
    named = ", ".join(f"{character} ({count})" for character, count in list(lacking.items())[:10])
    what = f"{source}: {100 * share:.1f} % of the characters are in no unit of the model: {named}"
    if share > MAX_LACKING:
        raise ValueError(
            f"{what}; write the sentences as they are spoken, in the model's language and script"
        )
    logging.warning("%s; they are left out where they stand", what)


def _parse(path: Path) -> Iterator[tuple[int, Row]]:
    """Line numbers and rows, as they stand there."""
    check_file(path, fix="give a text file, or JSON Lines (.jsonl)")
    if path.suffix in (".jsonl", ".json"):
        yield from read_objects(path, hint=FORM)
        return
    for number, line in read_lines(path):
        if text := line.strip():
            yield number, {"text": text}


def _check(row: Row, *, tasks: Sequence[str], language: str) -> Row:
    """The row of a manifest, without its key."""
    text = row.get("text", row.get("GT"))
    task = row.get("task", ASR)
    target = row.get("target")
    for name, value in {"text": text, "task": task, "target": target}.items():
        if not isinstance(value, str | None) or (value is not None and not value.strip()):
            raise ValueError(f"{name} is {value!r}; {FORM}")
    if text is None:
        raise ValueError(f"there is no text; {FORM}")
    if task not in tasks:
        raise ValueError(
            f"task {task!r} has no prompt; the model knows {', '.join(tasks)}: give --prompts a "
            'file with {"task": ..., "prompt": ...} for it'
        )
    spoken = normalize_text(text, language)
    if not spoken:
        raise ValueError(f"the text {text!r} has no word; fill or remove it")
    if target is None:
        if task != ASR:
            raise ValueError(f"a row of task {task} has no target; {FORM}")
        target = spoken
    return {name: v for name, v in row.items() if name not in KNOWN} | _row(spoken, task, target)


def _row(text: str, task: str, target: str) -> Row:
    return {"task": task, "target": target, "GT": text}


def _has_units(text: str, units: Units) -> bool:
    return bool(units.decode(units.encode(text)).strip())


def _split(rows: Sequence[Row], sentences: Sequence[str]) -> Domain:
    num_held = min(max(round(HELD_OUT_SHARE * len(sentences)), 2), MAX_HELD_OUT)
    held = set(random.Random(0).sample(list(sentences), num_held))
    return Domain(
        train=[row for row in rows if row["GT"] not in held],
        held_out=[row for row in rows if row["GT"] in held],
    )
