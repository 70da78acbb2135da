"""Between a manifest (JSON Lines) and a data folder as ESPnet and Kaldi know it.

A data folder has one line an utterance, a manifest one a task and utterance. So the folder takes
a text file a task: ``text`` is the transcript and the target of ASR (``text.ASR`` where that is
written otherwise), ``text.EN2DE`` the target of task EN2DE, and what else a prompt needs is in
``utt2FIELD`` (``utt2hotword``). Both ways texts are copied, never normalised.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_psslm.common.json_files import write_jsonl
from espnet_psslm.data.kaldi import check_corpus_path, read_table, write_speakers, write_table
from espnet_psslm.data.labelled import MANIFEST
from espnet_psslm.data.manifest import Row, read_manifest
from espnet_psslm.samples.segments import read_sources
from espnet_psslm.text.tasks import ASR, HOTWORD, PREVTEXT

FIELDS = (HOTWORD, PREVTEXT, "lang")  # carried along where a sample has them
TRANSCRIPT = "text"


def to_data_dir(
    manifest: str | Path, folder: str | Path, *, fields: Sequence[str] = FIELDS
) -> dict[str, int]:
    """Write a data folder: tables, and the manifest itself with ``utt`` in every row.

    Args:
        manifest: rows of one utterance share ``utt``, or their keys are ``UTT-TASK``.
        folder: is made.
        fields: written as ``utt2FIELD``.

    Returns:
        Lines written, by file.

    Raises:
        ValueError: if a row cannot be used, an utterance has two values for one place, or a value
            would not survive in a table.
    """
    tables: dict[str, dict[str, str]] = {}
    rows = []
    for key, row in read_manifest(manifest).items():
        utt = row.get("utt") or key.removesuffix(f"-{row['task']}")
        row = row | {"utt": utt}
        where = f"{manifest}: key {key!r}"
        if "path" in row:
            _check_path(row["path"], where=where)
        rows.append(row)
        for name, value in _cells(row, fields).items():
            _put(tables.setdefault(name, {}), name, utt, value, where=where)
    utts = {row["utt"] for row in rows}
    _check(tables, utts, manifest)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    speakers = tables.pop("utt2spk", {})
    for name, table in tables.items():
        write_table(folder / name, table)
    if "wav.scp" in tables:
        write_speakers(folder, {utt: speakers.get(utt, utt) for utt in utts})
    write_jsonl(folder / MANIFEST, rows)
    return {name: len(table) for name, table in tables.items()}


def _check_path(path: str, *, where: str) -> None:
    try:
        check_corpus_path(path)
    except ValueError as error:
        raise ValueError(f"{where}: path {error}") from error


def _cells(row: Row, fields: Sequence[str]) -> dict[str, str]:
    """Value by file name."""
    cells = {"wav.scp": row.get("path"), "utt2spk": row.get("spk")}
    cells[TRANSCRIPT] = row.get("GT", row["target"] if row["task"] == ASR else None)
    if row["task"] != ASR or row["target"] != cells[TRANSCRIPT]:
        cells[f"{TRANSCRIPT}.{row['task']}"] = row["target"]
    cells |= {f"utt2{field}": row.get(field) for field in fields}
    return {name: value for name, value in cells.items() if value is not None}


def _put(table: dict[str, str], name: str, utt: str, value: str, *, where: str) -> None:
    """Set one cell."""
    is_line = isinstance(value, str) and value and value == value.strip()
    if not is_line or "\n" in value or "\r" in value:
        raise ValueError(
            f"{where}: {value!r} does not fit into one line of {name}; remove line breaks and "
            "white space at its ends"
        )
    if table.setdefault(utt, value) != value:
        raise ValueError(
            f"{where}: {name} of utterance {utt!r} is {table[utt]!r} already, not {value!r}; give "
            "the rows another 'utt', or one GT and ASR target"
        )


def _check(tables: Mapping[str, Mapping[str, str]], utts: set[str], manifest: str | Path) -> None:
    for name in (TRANSCRIPT, "wav.scp"):
        if lacking := utts - tables.get(name, {}).keys():
            if name == "wav.scp" and name not in tables:
                continue  # text only
            need = "an ASR row or the field 'GT'" if name == TRANSCRIPT else "the field 'path'"
            raise ValueError(
                f"{manifest}: utterance {min(lacking)!r} has nothing for {name}; add {need}"
            )


def to_rows(
    folder: str | Path, *, tasks: Sequence[str] = (), fields: Sequence[str] = FIELDS
) -> list[Row]:
    """Manifest rows of a data folder.

    Args:
        folder: with ``text``, and ``wav.scp`` where there is audio, of which ``segments`` takes
            parts; ``text.TASK`` for other tasks.
        tasks: to make rows of; none: ASR, and every task that has a file.
        fields: read from ``utt2FIELD`` where that file exists.

    Returns:
        One row a task and utterance; an utterance that ``text.TASK`` lacks has no such row.

    Raises:
        ValueError: if a file is missing, or an utterance of one is not in ``text``.
    """
    folder = Path(folder)
    texts = read_table(folder / TRANSCRIPT)
    shared = _shared(folder, fields)
    targets = {task: _targets(folder, task, texts) for task in tasks or _tasks(folder)}
    for name, table in (shared | targets).items():
        if unknown := table.keys() - texts.keys():
            raise ValueError(
                f"{folder}: utterance {min(unknown)!r} of {name} is not in {TRANSCRIPT}"
            )
    if "path" in shared and (lacking := texts.keys() - shared["path"].keys()):
        raise ValueError(f"{folder}: utterance {min(lacking)!r} of {TRANSCRIPT} has no audio")
    return [
        {"key": f"{utt}-{task}", "task": task, "target": table[utt]}
        | {name: column[utt] for name, column in shared.items() if utt in column}
        | {"GT": texts[utt], "utt": utt}
        for utt in texts
        for task, table in targets.items()
        if utt in table
    ]


def _tasks(folder: Path) -> list[str]:
    files = sorted(path.name for path in folder.glob(f"{TRANSCRIPT}.*"))
    return list(dict.fromkeys([ASR, *(name.removeprefix(f"{TRANSCRIPT}.") for name in files)]))


def _targets(folder: Path, task: str, texts: Mapping[str, str]) -> dict[str, str]:
    file = folder / f"{TRANSCRIPT}.{task}"
    if task == ASR:
        return {**texts, **(read_table(file) if file.is_file() else {})}
    return read_table(file)


def _shared(folder: Path, fields: Sequence[str]) -> dict[str, dict[str, str]]:
    """Tables by the field that they become."""
    files = {"path": "wav.scp", "spk": "utt2spk"} | {field: f"utt2{field}" for field in fields}
    return {
        field: read_sources(folder / name) if field == "path" else read_table(folder / name)
        for field, name in files.items()
        if (folder / name).is_file()
    }
