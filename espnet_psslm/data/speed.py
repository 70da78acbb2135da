"""Speed perturbation of a data folder (stage 2; Ko et al., Interspeech 2015).

A recording is resampled as if it had been recorded faster or slower: tempo and pitch change, the
text stays. Names are ESPnet's and Kaldi's: utterance and speaker ``sp0.9-NAME``; factor 1 keeps
them. What cannot be read is left out and listed in ``dropped.txt``, which ``--max_dropped`` limits.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import soxr

from espnet_psslm.common.file_names import file_name
from espnet_psslm.common.json_files import write_jsonl
from espnet_psslm.common.left_out import UTTERANCE, Dropped, read_dropped, write_dropped
from espnet_psslm.data.audio import read_recording
from espnet_psslm.data.format import Formatted, work_on_all
from espnet_psslm.data.kaldi import read_table, write_speakers, write_table
from espnet_psslm.data.labelled import MANIFEST
from espnet_psslm.data.manifest import Row, read_manifest
from espnet_psslm.samples.flac import write_flac
from espnet_psslm.samples.segments import read_sources

STAGE = 2


def perturb_data(
    data_dir: str | Path,
    output_dir: str | Path,
    *,
    factors: Sequence[float],
    fs: int,
    nj: int,
    allow_pipes: bool = False,
) -> None:
    """Write a folder that holds every utterance once per factor.

    Args:
        data_dir: ``wav.scp``, ``text``, and, if there, ``segments``, ``utt2spk`` and
            ``psslm.jsonl``.
        output_dir: the same files but ``segments``, and ``dropped.txt``; perturbed audio (flac)
            goes to its folder ``audio``.
        factors: of the speed; 1 takes the recordings as they are.
        fs: sampling rate of the perturbed audio, Hz.
        nj: processes.
        allow_pipes: run the commands that ``wav.scp`` holds.

    Raises:
        ValueError: if a factor is not positive or comes twice, a table is missing, or no recording
            can be read.
    """
    if len(set(factors)) != len(factors) or not all(0 < factor < 10 for factor in factors):
        raise ValueError(f"--factors {list(factors)}: give each speed once, e.g. 0.9 1.0 1.1")
    data_dir, output_dir = Path(data_dir), Path(output_dir)
    sources, texts = read_sources(data_dir / "wav.scp"), read_table(data_dir / "text")
    speakers = read_table(data_dir / "utt2spk") if (data_dir / "utt2spk").is_file() else {}
    folder = output_dir / "audio"
    folder.mkdir(parents=True, exist_ok=True)
    work = partial(_perturb_one, folder=folder, fs=fs, allow_pipes=allow_pipes)
    results = [
        result for factor in factors for result in _perturb_all(sources, work, factor=factor, nj=nj)
    ]
    dropped = [Dropped(r.utt, r.fault, STAGE, UTTERANCE) for r in results if r.fault]
    # Factor 1 reads nothing.
    _check_dropped(dropped, len(sources) * sum(factor != 1 for factor in factors), folder=data_dir)
    paths = {result.utt: result.path for result in results if not result.fault}
    copies = {_name(utt, factor): (utt, factor) for factor in factors for utt in sources}
    names = {new: copies[new] for new in paths}
    write_table(output_dir / "wav.scp", paths)
    write_table(
        output_dir / "text", {new: texts[utt] for new, (utt, _) in names.items() if utt in texts}
    )
    write_speakers(
        output_dir,
        {new: _name(speakers.get(utt) or utt, factor) for new, (utt, factor) in names.items()},
    )
    write_dropped(output_dir, [*read_dropped(data_dir), *dropped])
    if (data_dir / MANIFEST).is_file():
        rows = read_manifest(data_dir / MANIFEST).values()
        _write_rows(output_dir, rows, factors=factors, paths=paths)
    logging.info("%s: %d utterances from %d", output_dir, len(paths), len(sources))


def change_speed(samples: np.ndarray, factor: float, *, fs: int) -> np.ndarray:
    """Make a recording ``factor`` times as fast.

    Args:
        samples: (N,).
        factor: e.g. 0.9, slower.
        fs: Hz, of both.

    Returns:
        About (N / factor,), float32.
    """
    return soxr.resample(np.ascontiguousarray(samples, dtype=np.float32), fs * factor, fs)


def _name(name: str, factor: float) -> str:
    return name if factor == 1 else f"sp{factor:g}-{name}"


def _check_dropped(dropped: Sequence[Dropped], num_read: int, *, folder: Path) -> None:
    if not dropped:
        return
    first = f"{dropped[0].name}: {dropped[0].reason}"
    if len(dropped) == num_read:
        raise ValueError(f"{folder}: no recording can be read; {first}")
    logging.warning("%s: dropped %d of %d, the first %s", folder, len(dropped), num_read, first)


def _perturb_all(
    sources: Mapping[str, str], work: Callable[..., Formatted], *, factor: float, nj: int
) -> list[Formatted]:
    if factor == 1:
        return [Formatted(utt, source) for utt, source in sources.items()]
    return work_on_all(partial(work, factor=factor), sources, nj=nj, label=f"speed {factor:g}")


def _perturb_one(
    item: tuple[str, str], *, folder: Path, factor: float, fs: int, allow_pipes: bool
) -> Formatted:
    utt, source = item
    name = _name(utt, factor)
    try:
        samples = read_recording(source, fs=fs, allow_pipes=allow_pipes).samples
    except ValueError as error:
        return Formatted(name, fault=str(error))
    if len(samples) == 0:
        return Formatted(name, fault=f"{source}: no samples")
    path = folder / f"{file_name(name)}.flac"
    changed = np.clip(change_speed(samples, factor, fs=fs), -1.0, 1.0)
    write_flac(path, changed, fs)
    return Formatted(name, str(path))


def _write_rows(
    folder: Path, rows: Sequence[Row], *, factors: Sequence[float], paths: Mapping[str, str]
) -> None:
    """Manifest rows with audio, once per factor; rows of other utterances are left out."""
    perturbed = []
    for factor in factors:
        for row in rows:
            utt = _name(row.get("utt") or row["key"].removesuffix(f"-{row['task']}"), factor)
            if utt in paths:
                key = _name(row["key"], factor)
                perturbed.append({**row, "key": key, "utt": utt, "path": paths[utt]})
    write_jsonl(folder / MANIFEST, perturbed)
