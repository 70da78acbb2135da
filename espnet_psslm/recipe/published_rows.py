"""Rows of a posterior in the layout of the published system, as dumped Steps.

It keeps a file for each sample, which its manifest names: ``sim_psd_path``, rows that its simulator
wrote for the text (TASU2, arXiv 2604.08384), or ``psd_path``, rows that its acoustic model heard.
The file is a dict saved by torch: ``psd_indices`` and ``psd_values``, the ten likeliest units of
each row and their probabilities, flat or (U, 10), best first, and ``shape``, (U, V) or (U, V + 1)
with the simulator's end behind the units.

Legend: U rows, K listed units, V units.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.bridge.steps_file import StepsWriter
from espnet_psslm.common.json_files import write_jsonl
from espnet_psslm.data.manifest import Row, read_manifest
from espnet_psslm.device import HOST
from espnet_psslm.progress import track
from espnet_psslm.samples.segments import find_beside
from espnet_psslm.steps.made import of_units

PATHS = ("sim_psd_path", "psd_path")  # a row may have both: what was simulated goes first
# What numpy's arrays are unpickled with, by the names that numpy 1 and 2 write; nothing else is.
RECONSTRUCT = np.empty(0).__reduce__()[0]
ARRAYS = [
    *((RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *(np.ndarray, np.dtype, *(type(np.dtype(t)) for t in ("i4", "i8", "f2", "f4", "f8"))),
]


def convert_published(manifest: str | Path, output_dir: str | Path, *, tokens: list[str]) -> int:
    """Write the Steps of a manifest, and a manifest that names them.

    Args:
        manifest: JSON Lines of the published system.
        output_dir: for ``steps-MARK.ark``, ``steps.scp`` and ``psslm.jsonl``.
        tokens: the V units.

    Returns:
        How many rows have Steps.

    Raises:
        ValueError: naming the sample, if it names no such file, or that holds something else.
    """
    rows = read_manifest(manifest)
    folder = Path(output_dir)
    num_units = len(tokens)
    # How they were reduced, the published files do not say.
    made = {"step_kind": "posterior", **of_units(tokens)}
    with StepsWriter(folder / "steps.ark", made) as writer:
        for key, row in track(rows.items(), len(rows), "convert", units="rows"):
            try:
                path = _file_of(row, Path(manifest).parent)
                ids, probs = read_published(path, num_units=num_units)
            except ValueError as error:
                raise ValueError(f"{manifest}, '{key}': {error}") from error
            places = torch.arange(len(ids))[None]  # there are no frames: each row is one
            lengths = torch.tensor([len(ids)])
            steps = PosteriorSteps(ids[None], probs[None], lengths, num_units, places, places + 1)
            writer.write_batch([key], steps)
    placed = [
        {name: value for name, value in row.items() if name not in PATHS}
        | {"steps": writer.locations[key]}
        for key, row in rows.items()
    ]
    write_jsonl(folder / "psslm.jsonl", placed)
    writer.remove_older()
    return len(placed)


def _file_of(row: Row, folder: Path) -> str:
    named = next((row[name] for name in PATHS if name in row), None)
    if named is None:
        raise ValueError(f"names no rows; a field {' or '.join(PATHS)} must")
    return find_beside(named, folder)


def read_published(path: str | Path, *, num_units: int) -> tuple[Tensor, Tensor]:
    """Read one sample.

    Args:
        path: file of the published system.
        num_units: V.

    Returns:
        Unit ids (U, K), distinct within a row, and probabilities (U, K), best first.

    Raises:
        ValueError: if it cannot be read, or is of other units.
    """
    try:
        with torch.serialization.safe_globals(ARRAYS):
            stored = torch.load(path, map_location=HOST, weights_only=True)
        return _rows(stored, num_units)
    except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} holds no rows of the published layout ({reason})") from error


def _rows(stored: Mapping[str, Any], num_units: int) -> tuple[Tensor, Tensor]:
    count, width = (int(size) for size in stored["shape"])
    if width not in (num_units, num_units + 1):
        raise ValueError(f"its rows are of {width} units, the vocabulary has {num_units}")
    ids = torch.as_tensor(np.asarray(stored["psd_indices"], np.int64)).reshape(count, -1)
    probs = torch.as_tensor(np.asarray(stored["psd_values"], np.float32)).reshape(count, -1)
    for row in (ids == num_units).any(1).nonzero()[:, 0].tolist():
        # The end is no unit: any other that is not listed takes its place, with nothing.
        listed = set(ids[row].tolist())
        free = next(unit for unit in range(num_units) if unit not in listed)
        probs[row][ids[row] == num_units] = 0.0
        ids[row][ids[row] == num_units] = free
    order = probs.argsort(dim=1, descending=True, stable=True)
    return ids.gather(1, order), probs.gather(1, order)
