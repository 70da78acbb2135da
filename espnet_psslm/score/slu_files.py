"""SLURP's own files: the release with the right answers, and published predictions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from espnet_psslm.common.json_files import read_objects
from espnet_psslm.data.release import row_entities
from espnet_psslm.text.slu_answer import SLUAnswer

KEYS = ("file", "slurp_id")  # what predictions are keyed by: a recording, or a sentence


def read_slurp(
    release: str | Path, predictions: str | Path
) -> tuple[dict[str, SLUAnswer], dict[str, SLUAnswer]]:
    """Read both sides in SLURP's formats.

    Args:
        release: ``dataset/slurp/test.jsonl``.
        predictions: JSON Lines with ``scenario``, ``action``, ``entities`` (type and filler), and
            ``file`` (of a recording) or ``slurp_id``.

    Returns:
        Right answers and predictions, keyed as the predictions are.

    Raises:
        ValueError: naming file and line, for a row that lacks a field or repeats a key.
    """
    hyps: dict[str, SLUAnswer] = {}
    key_field = None
    for where, row in _rows(predictions):
        if key_field is None:
            key_field = next((name for name in KEYS if name in row), KEYS[0])
        _add(hyps, where, str(_get(row, key_field, where)), _answer(row, where))
    refs: dict[str, SLUAnswer] = {}
    for where, row in _rows(release):
        entities = row_entities(row)
        if entities is None:
            raise ValueError(f"{where}: no field 'entities' or 'tokens', has {sorted(row)}")
        answer = _answer(row | {"entities": entities}, where)
        if key_field == "slurp_id":
            _add(refs, where, str(_get(row, "slurp_id", where)), answer)
            continue
        for recording in _get(row, "recordings", where):
            _add(refs, where, _get(recording, "file", where), answer)
    return refs, hyps


def _rows(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ``FILE:LINE`` and the object there."""
    for number, row in read_objects(path):
        yield f"{path}:{number}", row


def _get(row: dict[str, Any], name: str, where: str) -> Any:
    if name not in row:
        raise ValueError(f"{where}: no field {name!r}, has {sorted(row)}")
    return row[name]


def _add(answers: dict[str, SLUAnswer], where: str, key: str, answer: SLUAnswer) -> None:
    if key in answers:
        raise ValueError(f"{where}: {key!r} was there before; give every answer a key of its own")
    answers[key] = answer


def _answer(row: dict[str, Any], where: str) -> SLUAnswer:
    scenario, action, entities = (
        _get(row, name, where) for name in ("scenario", "action", "entities")
    )
    try:
        return SLUAnswer.of(scenario, action, entities or ())  # null: none
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
