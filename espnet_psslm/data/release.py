"""Recordings from JSON Lines: SLURP's release format or our manifest.

SLURP: ``{"sentence": ..., "recordings": [{"file": ...}], "scenario": ..., "action": ...}``, a row
for each sentence. Manifest: see ``espnet_psslm.data.manifest``, a row for each task.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from espnet_psslm.common.json_files import parse_object, read_objects
from espnet_psslm.data.kaldi import check_corpus_path
from espnet_psslm.data.labelled import LabelledUtterance
from espnet_psslm.data.manifest import Row, read_manifest
from espnet_psslm.samples.segments import find_beside
from espnet_psslm.text.normalize import normalize_text
from espnet_psslm.text.tasks import ACTION, ASR, SCENARIO

AUDIO_FOLDERS = ("", "flac", "audio", "wav")  # beside the JSON file, tried in this order
SLURP_HINT = 'write {"sentence": ..., "recordings": [{"file": ...}], ...} in every row'


def read_recordings(path: str | Path, *, language: str = "en") -> list[LabelledUtterance]:
    """Read recordings with their labels.

    Args:
        path: JSON Lines file. Audio is looked for relative to it, in its subfolders
            ``flac``, ``audio``, ``wav`` and the one named like the file without ".jsonl"; that of
            a manifest from the working folder before these, and from the folder above after them.
        language: of the sentences, for their normalisation.

    Returns:
        One utterance a recording. Audio that does not exist is not an error here: the
        formatting stage counts and lists it.

    Raises:
        ValueError: at the first row that cannot be used: file, line number, fix.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a JSON Lines file with recordings")
    if _is_manifest(path):
        return _from_manifest(path, language)
    utterances: dict[str, LabelledUtterance] = {}
    for number, row in read_objects(path, hint=SLURP_HINT):
        for utterance in _from_slurp_row(row, path, number, language):
            if utterance.utt in utterances:
                raise ValueError(
                    f"{path}:{number}: recording {utterance.utt!r} was there before; "
                    "give every recording a file name of its own"
                )
            utterances[utterance.utt] = utterance
    if not utterances:
        raise ValueError(f"{path}: holds no recordings; {SLURP_HINT}")
    return list(utterances.values())


def _is_manifest(path: Path) -> bool:
    """The first row decides; one that is no JSON is reported by the reader."""
    try:
        _, row = next(read_objects(path), (0, {}))
    except ValueError:
        return False
    return "key" in row and "recordings" not in row


def parse_slurp_row(line: bytes) -> Row:
    """Read one line of SLURP's format.

    Args:
        line: JSON.

    Returns:
        The row, with a text in ``sentence`` and a list in ``recordings``.

    Raises:
        ValueError: if it is no such row.
    """
    return check_slurp_row(parse_object(line, hint=SLURP_HINT))


def check_slurp_row(row: Row) -> Row:
    """Refuse a row, with a ValueError, that is not as :func:`parse_slurp_row` says."""
    for field, kind in (("sentence", str), ("recordings", list)):
        if not isinstance(row.get(field), kind):
            state = "is missing" if field not in row else f"is {row[field]!r}"
            raise ValueError(f"field {field!r} {state}; {SLURP_HINT}")
    return row


def _from_slurp_row(
    row: Row, path: Path, number: int, language: str
) -> Iterator[LabelledUtterance]:
    """One utterance for each recording of a sentence."""
    try:
        check_slurp_row(row)
        entities = row_entities(row)
        names = [slurp_file(recording) for recording in row["recordings"]]
    except ValueError as error:
        raise ValueError(f"{path}:{number}: {error}") from error
    text = normalize_text(row["sentence"], language)
    if not text:
        raise ValueError(f"{path}:{number}: empty sentence {row['sentence']!r}; fill or remove it")
    for name in names:
        yield LabelledUtterance(
            utt=Path(name).stem,
            text=text,
            path=str(find_audio(name, path)),
            scenario=row.get("scenario"),
            action=row.get("action"),
            extra={} if entities is None else {"entities": entities},
        )


def slurp_file(recording: Any) -> str:
    """Return the file name of an entry of ``recordings``.

    Args:
        recording: ``{"file": ...}``.

    Returns:
        The name; its stem can serve as utterance id.

    Raises:
        ValueError: if there is none, it has white space, or it would be a command in ``wav.scp``.
    """
    name = recording.get("file") if isinstance(recording, dict) else None
    if not isinstance(name, str) or not name:
        raise ValueError(f"recording {recording!r} has no file; {SLURP_HINT}")
    if len(Path(name).stem.split()) != 1:
        raise ValueError(f"file {name!r} has white space; rename the file")
    return check_corpus_path(name)


def row_entities(row: Row) -> list[dict[str, str]] | None:
    """Return SLURP's token spans as type and filler.

    Args:
        row: of SLURP's format.

    Returns:
        ``{"type", "filler"}`` of each entity, none for ``"entities": null``; None where the row has
        no annotation.

    Raises:
        ValueError: if a span does not fit the tokens.
    """
    if "entities" not in row or "tokens" not in row:
        return None
    try:
        surfaces = [token["surface"].lower() for token in row["tokens"]]
        return [
            {
                "type": entity["type"],
                "filler": " ".join(surfaces[index] for index in entity["span"]),
            }
            for entity in row["entities"] or ()
        ]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"entities {row['entities']!r} do not fit the tokens ({error!r}); correct the spans"
        ) from error


def find_audio(name: str, json_file: str | Path) -> Path:
    """Find a recording.

    Args:
        name: as the JSON file has it.
        json_file: beside which the audio lies.

    Returns:
        The first path that exists, else where it was looked for first.
    """
    candidates = [folder / name for folder in _audio_folders(Path(json_file))]
    return next((path for path in candidates if os.path.isfile(path)), candidates[0])


def _audio_folders(json_file: Path) -> list[Path]:
    return [json_file.parent / name for name in (*AUDIO_FOLDERS, json_file.stem)]


def _from_manifest(path: Path, language: str) -> list[LabelledUtterance]:
    """Group the rows of a manifest by utterance."""
    groups: dict[str, dict[str, Any]] = {}
    for key, row in read_manifest(path).items():
        if "path" not in row:
            raise ValueError(f"{path}: key {key!r} has no 'path'; recordings are needed here")
        utt = row.get("utt") or key.removesuffix(f"-{row['task']}")
        try:
            folders = (*_audio_folders(path), path.parent.parent)
            source = find_beside(check_corpus_path(row["path"]), *folders)
            fields = groups.setdefault(utt, {"path": source})
        except ValueError as error:
            raise ValueError(f"{path}: key {key!r}: path {error}") from error
        if row["task"] == ASR:
            fields["text"] = normalize_text(row["target"], language)
        elif "GT" in row:
            fields.setdefault("text", normalize_text(row["GT"], language))
        if row["task"] in (SCENARIO, ACTION):
            fields["scenario" if row["task"] == SCENARIO else "action"] = row["target"]
        if "entities" in row:
            fields["extra"] = {"entities": row["entities"]}
    for utt, fields in groups.items():
        if not fields.get("text"):
            raise ValueError(
                f"{path}: utterance {utt!r} has no transcript; add an ASR row or the field 'GT'"
            )
    return [LabelledUtterance(utt=utt, **fields) for utt, fields in groups.items()]
