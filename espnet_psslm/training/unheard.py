"""Samples in which nothing is heard are left out of training.

A transcript of which the vocabulary has no unit, or dumped Steps of silence: the language model
would learn to answer nothing with something. Stage 10 gives them the length 0.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from espnet_psslm.atomic import atomic_file
from espnet_psslm.common.lines import read_lines

NUM_NAMED = 5  # in the log; the file names all


def heard_shapes(shape_files: Sequence[str], folder: str | Path, *, mode: str) -> list[str]:
    """Shape files of the samples in which something is heard.

    Args:
        shape_files: of stage 10.
        folder: of the training; gets the shortened files, and ``unheard_MODE.txt`` with the keys.
        mode: ``train`` or ``valid``.

    Returns:
        The files as they are, where all samples are of use.

    Raises:
        ValueError: if no sample is.
    """
    tables = {name: [line for _, line in read_lines(name) if line.strip()] for name in shape_files}
    unheard = {
        line.split()[0]: None
        for lines in tables.values()
        for line in lines
        if line.split()[1].split(",")[0] == "0"
    }
    if not unheard:
        return list(shape_files)
    total = len(next(iter(tables.values())))
    if len(unheard) == total:
        raise ValueError(
            f"{shape_files[0]}: none of {total} samples has a unit of the vocabulary in its "
            "transcript: are token list and text of one language?"
        )
    folder = Path(folder)
    listed = folder / f"unheard_{mode}.txt"
    _write(listed, list(unheard))
    logging.warning(
        "%d of %d samples (%s) are left out: no unit of the vocabulary is in their transcripts or "
        "Steps; %s names them, the first: %s",
        len(unheard), total, mode, listed, ", ".join(list(unheard)[:NUM_NAMED]),
    )  # fmt: skip
    shortened = []
    for number, lines in enumerate(tables.values()):
        path = folder / f"heard_{mode}_shape{number}"
        _write(path, [line for line in lines if line.split()[0] not in unheard])
        shortened.append(str(path))
    return shortened


def _write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as stream:
        stream.write("".join(f"{line}\n" for line in lines).encode())
