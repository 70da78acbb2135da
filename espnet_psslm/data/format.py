"""Formatting (stage 3) and filtering (stage 4) of data folders.

What cannot be used is left out, counted, and listed in ``dropped.txt``; nothing is shortened or
repaired in silence.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from espnet_psslm.common.file_names import file_name
from espnet_psslm.common.json_files import write_jsonl
from espnet_psslm.common.left_out import (
    ROW,
    UTTERANCE,
    Dropped,
    check_dropped,
    read_dropped,
    say_dropped,
    write_dropped,
)
from espnet_psslm.common.workers import in_workers
from espnet_psslm.data.audio import read_recording
from espnet_psslm.data.kaldi import read_counts, read_table, write_speakers, write_table
from espnet_psslm.data.labelled import MANIFEST
from espnet_psslm.data.manifest import Row, check_manifest
from espnet_psslm.progress import show_progress
from espnet_psslm.samples.flac import write_flac
from espnet_psslm.samples.segments import read_sources

FORMAT_STAGE, FILTER_STAGE = 3, 4
KEPT_SUFFIXES = (".wav", ".flac")  # read as they are if rate and channels fit
BLOCK = 4  # recordings that a process is given at once: all are named where it is killed

type Source = tuple[str, str]  # utterance id; path, ``ark:offset`` or pipe


@dataclass(frozen=True)
class Formatted:
    """What became of one recording."""

    utt: str
    path: str = ""
    num_samples: int = 0
    rate: int = 0  # Hz, as it arrived
    channels: int = 0  # as it arrived
    fault: str = ""  # why it cannot be used


def format_data(
    data_dir: str | Path, output_dir: str | Path, *, fs: int, nj: int, allow_pipes: bool = False
) -> None:
    """Check every recording; convert those that are not ``fs`` Hz mono wav or flac.

    Args:
        data_dir: ``wav.scp``, ``text``, and, if there, ``segments``, ``utt2spk`` and
            ``psslm.jsonl``.
        output_dir: the same files but ``segments``, which are cut, with ``utt2num_samples`` and
            ``dropped.txt``; converted audio goes to its folder ``audio``.
        fs: sampling rate wanted, Hz.
        nj: processes.
        allow_pipes: run the commands that ``wav.scp`` holds.

    Raises:
        ValueError: if a file is missing or broken, or no recording can be used.
    """
    data_dir, output_dir = Path(data_dir), Path(output_dir)
    sources, texts = read_sources(data_dir / "wav.scp"), read_table(data_dir / "text")
    speakers = read_table(data_dir / "utt2spk") if (data_dir / "utt2spk").is_file() else {}
    (output_dir / "audio").mkdir(parents=True, exist_ok=True)
    both = {utt: sources[utt] for utt in sorted(sources) if utt in texts}
    dropped = read_dropped(data_dir)  # of stage 1
    dropped += [_drop(utt, "no transcript in text") for utt in sorted(set(sources) - set(texts))]
    dropped += [_drop(utt, "no audio in wav.scp") for utt in sorted(set(texts) - set(sources))]
    work = partial(format_one, folder=output_dir / "audio", fs=fs, allow_pipes=allow_pipes)
    results = work_on_all(work, both, nj=nj, label=data_dir.name)
    dropped += [_drop(result.utt, result.fault) for result in results if result.fault]
    good = {result.utt: result for result in results if not result.fault}
    _say_conversions(list(good.values()), fs, data_dir)
    rows = None
    if (data_dir / MANIFEST).is_file():
        rows, problems = check_manifest(data_dir / MANIFEST)
        dropped += [
            Dropped(f"{p.file}:{p.line}", f"{p.reason}; {p.fix}", FORMAT_STAGE, ROW)
            for p in problems
        ]
    say_dropped(dropped, output_dir)
    write_dropped(output_dir, dropped)
    if not good:
        # Of those that were tried, if there are; the others come before them.
        faults = [result.fault for result in results] or [entry.reason for entry in dropped]
        reason = f", the first: {faults[0]}" if faults else ""
        raise ValueError(f"{data_dir}: none of {len(sources)} recordings can be used{reason}")
    write_table(output_dir / "wav.scp", {utt: result.path for utt, result in good.items()})
    write_table(output_dir / "text", {utt: texts[utt] for utt in good})
    write_table(
        output_dir / "utt2num_samples", {utt: result.num_samples for utt, result in good.items()}
    )
    write_speakers(output_dir, {utt: speakers.get(utt) or utt for utt in good})
    if rows is not None:
        _write_rows(output_dir, rows, {utt: result.path for utt, result in good.items()})


def _drop(utt: str, reason: str) -> Dropped:
    return Dropped(utt, reason, FORMAT_STAGE, UTTERANCE)


def work_on_all(
    work: Callable[[Source], Formatted], sources: Mapping[str, str], *, nj: int, label: str
) -> list[Formatted]:
    """Do something with all recordings, in ``nj`` processes.

    Args:
        work: what is done with one.
        sources: path, ``ark:offset`` or pipe by utterance.
        nj: processes.
        label: of the progress.

    Returns:
        What became of each, in the order given.

    Raises:
        ValueError: naming some recordings, if the process that had them is killed.
    """
    items = list(sources.items())
    blocks = [items[first : first + BLOCK] for first in range(0, len(items), BLOCK)]
    found: dict[int, list[Formatted]] = {}
    with show_progress(len(items), label, units="utterances") as count:
        for number, results in in_workers(
            partial(_work_on_block, work=work), blocks, nj=nj, describe=_describe,
            prepare=_start_worker,
        ):  # fmt: skip
            found[number] = results
            count(len(results))
    return [result for number in range(len(blocks)) for result in found[number]]


def _work_on_block(
    block: Sequence[Source], *, work: Callable[[Source], Formatted]
) -> list[Formatted]:
    return [work(item) for item in block]


def _describe(block: Sequence[Source]) -> str:
    return f"read {', '.join(utt for utt, _ in block)}"


def _start_worker() -> None:
    # The readers' warnings come once per process; the parent says the same once, with counts.
    logging.disable(logging.WARNING)


def format_one(item: Source, *, folder: Path, fs: int, allow_pipes: bool = False) -> Formatted:
    """Check one recording and convert it where needed.

    Args:
        item: utterance id and source (path, ``ark:offset`` or pipe).
        folder: for converted audio.
        fs: sampling rate wanted, Hz.
        allow_pipes: run the source where it is a pipe.

    Returns:
        Path and length, or the fault.
    """
    utt, source = item
    try:
        # Read to the end: a header does not tell that a file was cut off.
        recording = read_recording(source, fs=fs, allow_pipes=allow_pipes)
    except ValueError as error:
        return Formatted(utt, fault=str(error))
    samples = recording.samples
    stored = {"rate": recording.rate, "channels": recording.channels}
    if len(samples) == 0:
        return Formatted(utt, fault=f"{source}: no samples")
    is_kept_kind = os.path.splitext(source)[1].lower() in KEPT_SUFFIXES and os.path.isfile(source)
    if is_kept_kind and (recording.rate, recording.channels) == (fs, 1):
        return Formatted(utt, source, len(samples), **stored)
    path = folder / f"{file_name(utt)}.flac"
    write_flac(path, np.clip(samples, -1.0, 1.0), fs)
    return Formatted(utt, str(path), len(samples), **stored)


def _say_conversions(good: list[Formatted], fs: int, data_dir: Path) -> None:
    resampled = sum(result.rate != fs for result in good)
    mixed = sum(result.channels > 1 for result in good)
    if resampled:
        logging.warning(
            "%s: %d of %d recordings resampled to %d Hz", data_dir, resampled, len(good), fs
        )
    if mixed:
        logging.warning("%s: %d of %d recordings mixed down to mono", data_dir, mixed, len(good))


def _write_rows(folder: Path, rows: Mapping[str, Row], paths: Mapping[str, str]) -> None:
    """Write the manifest rows of the utterances that are left, with their audio."""
    kept = []
    for key, row in rows.items():
        utt = row.get("utt") or key.removesuffix(f"-{row['task']}")
        if utt in paths:
            kept.append({**row, "utt": utt, "path": paths[utt]})
    logging.info("%s: %d of %d manifest rows kept", folder, len(kept), len(rows))
    write_jsonl(folder / MANIFEST, kept)


def filter_data(
    data_dir: str | Path,
    *,
    fs: int,
    min_duration_s: float,
    max_duration_s: float,
    max_dropped: float,
) -> None:
    """Leave out what is too long, too short or without text; write ``speech_shape``.

    Works in place. What is gone comes back only by running stage 3 again.

    Args:
        data_dir: folder made by :func:`format_data`.
        fs: its sampling rate, Hz.
        min_duration_s: shortest recording.
        max_duration_s: longest recording.
        max_dropped: largest share of utterances, and of manifest rows, that stages 3 and 4 may
            leave out together.

    Raises:
        ValueError: if more than that cannot be used; only ``dropped.txt`` is changed then.
    """
    data_dir = Path(data_dir)
    tables = {name: read_table(data_dir / name) for name in ("wav.scp", "text", "utt2spk")}
    lengths = read_counts(data_dir / "utt2num_samples")
    before = [
        entry
        for entry in read_dropped(data_dir)
        # An earlier try of this stage that stopped has listed utterances that are still there.
        if entry.kind == ROW or entry.name not in lengths
    ]
    new = []
    for utt, num_samples in lengths.items():
        seconds = num_samples / fs
        if seconds > max_duration_s:
            reason = f"{seconds:.2f} s is longer than {max_duration_s:g} s (--max_duration_s)"
        elif seconds < min_duration_s:
            reason = f"{seconds:.3f} s is shorter than {min_duration_s:g} s (--min_duration_s)"
        elif not tables["text"].get(utt):
            reason = "empty transcript"
        else:
            continue
        new.append(Dropped(utt, reason, FILTER_STAGE, UTTERANCE))
    entries = before + new
    rows = None
    num_rows = 0
    if (data_dir / MANIFEST).is_file():
        rows, problems = check_manifest(data_dir / MANIFEST)
        num_rows = len(rows)
        known = {entry.name for entry in entries}
        entries += [
            Dropped(f"{p.file}:{p.line}", f"{p.reason}; {p.fix}", FILTER_STAGE, ROW)
            for p in problems
            if f"{p.file}:{p.line}" not in known
        ]
    say_dropped(entries[len(before) :], data_dir)
    write_dropped(data_dir, entries)
    gone = {entry.name for entry in new}
    kept = {utt: num_samples for utt, num_samples in lengths.items() if utt not in gone}
    limit = partial(check_dropped, entries, max_dropped=max_dropped, folder=data_dir)
    limit(kind=UTTERANCE, num_kept=len(kept))
    if rows is not None:
        limit(kind=ROW, num_kept=num_rows)
    # The lengths first: if this is stopped, a next run drops what they lack from the other tables.
    # The shapes last: stage 6 asks for them.
    write_table(data_dir / "utt2num_samples", kept)
    for name in ("wav.scp", "text"):
        write_table(data_dir / name, {utt: tables[name][utt] for utt in kept})
    write_speakers(data_dir, {utt: tables["utt2spk"][utt] for utt in kept})
    if rows is not None:
        _write_rows(data_dir, rows, {utt: tables["wav.scp"][utt] for utt in kept})
    write_table(data_dir / "speech_shape", kept)
