r"""Tables of Common Voice and CoVoST 2: tab-separated, with a header, never quoted.

Releases add and reorder columns, so they are read by name. A quotation mark is a character like any
other; a tab or a backslash inside a field has a backslash before it, as the corpora's own tools
write and read them.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_psslm.data.prepare import CorpusSet

AUDIO_SUFFIX = ".mp3"


@dataclass(frozen=True)
class Clip:
    """One row of a Common Voice table."""

    place: str  # FILE:LINE
    name: str  # file below clips/
    utt: str  # its name without suffix
    sentence: str  # as it stands there
    client_id: str | None  # speaker; None where the row has none


def read_tsv(
    path: Path, *, columns: Sequence[str], into: CorpusSet
) -> Iterator[tuple[str, dict[str, str]]]:
    """Read a table by the names of its columns.

    Args:
        path: the table.
        columns: that it must have.
        into: where rows are noted that have more or fewer fields than the header.

    Yields:
        FILE:LINE and the row.

    Raises:
        ValueError: if the file or a column is missing, or it is not UTF-8.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist: check the corpus folder in db.sh and the options")
    with open(path, encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\")
        try:
            header = next(reader, [])
            if lacking := [name for name in columns if name not in header]:
                raise ValueError(f"{path}: no column {lacking[0]!r}, the header has {header}")
            for row in reader:
                place = f"{path.name}:{reader.line_num}"
                if len(row) == len(header):
                    yield place, dict(zip(header, row, strict=True))
                elif row:
                    into.drop(place, f"{len(row)} fields, the header has {len(header)}")
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path}:{reader.line_num + 1}: {error}; unpack it again") from error


def read_clips(path: Path, *, into: CorpusSet) -> Iterator[Clip]:
    """Read a table of Common Voice.

    Args:
        path: such as ``en/train.tsv``.
        into: where rows are noted that cannot be used.

    Yields:
        The clips, those without words too.

    Raises:
        ValueError: see :func:`read_tsv`.
    """
    for place, row in read_tsv(path, columns=("path", "sentence"), into=into):
        name = clip_name(row["path"])
        if not name:
            into.drop(place, f"no usable file name in {row['path']!r}")
            continue
        yield Clip(
            place=place,
            name=name,
            utt=Path(name).stem,
            sentence=row["sentence"],
            client_id=row.get("client_id", "").strip() or None,
        )


def clip_name(path: str) -> str:
    """Return the file name of a clip.

    Args:
        path: column ``path``; the first releases left the suffix out.

    Returns:
        ``NAME.mp3``; "" if there is none, it has white space or a folder, or ends in "|", as
        commands do in ``wav.scp``.
    """
    path = path.strip()
    if not path or "/" in path or len(path.split()) != 1 or path.endswith("|"):
        return ""
    return path if Path(path).suffix else path + AUDIO_SUFFIX
