"""Steps on disk: one ark of many utterances, each reached as ``path:offset``.

A record is NumPy arrays, one after another in NumPy's own format. The first record says how all
Steps of the ark were made: JSON as bytes (1, length). Each other one is an utterance. Posteriors:
unit ids (U, K), probabilities (U, K) in half precision, and frame spans (U, 2). Encoder outputs:
values (U, D) in half precision, and frame spans. Half precision moves a value by at most 5e-4
relative, far below what distinguishes units.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import torch
from numpy.lib.format import read_array_header_1_0, read_magic

from espnet_psslm.atomic import atomic_text, move_file, naming, remove_strays, unfinished_name
from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps
from espnet_psslm.device import HOST

ID_TYPES = (np.dtype(np.uint16), np.dtype(np.uint32))  # the smaller one where all units fit
VALUE_TYPE = np.dtype(np.float16)
FRAME_TYPE = np.dtype(np.uint16)
MADE_TYPE = np.dtype(np.uint8)


class StepsWriter:
    """Write Steps utterance by utterance; the ark is there whole or not at all.

    It is named by its content: ``steps-1a2b3c4d.ark`` for ``steps.ark``. So an ark never changes
    under those who read it by offset, and an older manifest goes with the older ark until
    :meth:`remove_older`.

    Args:
        ark: file to create, but for the mark of its content. Afterwards ``path`` is the file, and
            ``locations`` maps each utterance to ``ark:offset``.
        made: how the Steps are made (``espnet_psslm.steps.made``).
    """

    def __init__(self, ark: str | Path, made: Mapping[str, Any]) -> None:
        self.ark = Path(ark)
        self.made = made
        self.ark.parent.mkdir(parents=True, exist_ok=True)
        remove_strays(self.ark.parent)
        self.unfinished = unfinished_name(self.ark)
        self.file = _Hashed(open(self.unfinished, "wb"))
        self.offsets: dict[str, int] = {}

    def write_batch(self, utt_ids: list[str], steps: PosteriorSteps | FeatureSteps) -> None:
        """Append a batch that came from audio (with frame spans)."""
        steps = steps.to(HOST)
        id_type = ID_TYPES[steps.width > 1 << 16]
        types = {"unit_ids": id_type, "probs": VALUE_TYPE, "features": VALUE_TYPE}
        spans = torch.stack([steps.frame_start, steps.frame_end], -1)
        if not self.offsets:
            made = np.frombuffer(json.dumps(self.made).encode(), MADE_TYPE)
            np.save(self.file, made[None], allow_pickle=False)
        for row, utt_id in enumerate(utt_ids):
            count = int(steps.lengths[row])
            self.offsets[utt_id] = self.file.size
            arrays = {
                name: value.numpy().astype(types[name]) for name, value in steps.sample(row).items()
            }
            for array in (*arrays.values(), spans[row, :count].numpy().astype(FRAME_TYPE)):
                np.save(self.file, array, allow_pickle=False)

    @property
    def path(self) -> Path:
        """The finished ark."""
        mark = self.file.digest.hexdigest()[:8]
        return self.ark.with_stem(f"{self.ark.stem}-{mark}")

    @property
    def locations(self) -> dict[str, str]:
        """Where each utterance is in the finished ark."""
        assert self.file.stream.closed, "its name is not known yet"
        return {utt_id: f"{self.path}:{offset}" for utt_id, offset in self.offsets.items()}

    def close(self) -> None:
        """Name the ark, and write its index ``*.scp`` beside it."""
        self.file.close()
        move_file(self.unfinished, self.path)
        lines = [f"{utt_id} {location}\n" for utt_id, location in self.locations.items()]
        atomic_text(self.ark.with_suffix(".scp"), "".join(lines))

    def remove_older(self) -> None:
        """Remove earlier arks, when nothing names them any more."""
        for path in self.ark.parent.glob(f"{self.ark.stem}*{self.ark.suffix}"):
            if path != self.path:
                path.unlink()

    def __enter__(self) -> "StepsWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                with naming(self.ark):
                    self.close()
        finally:
            with suppress(OSError):  # which has been said
                self.file.stream.close()
            self.unfinished.unlink(missing_ok=True)


class _Hashed:
    """A file to write to that knows what is in it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        with naming(self.stream.name):
            self.stream.write(data)
        self.digest.update(data)
        self.size += len(data)
        return len(data)

    def close(self) -> None:
        self.stream.close()


def read_made(ark: str | Path) -> dict[str, Any] | None:
    """Read how the Steps of an ark were made.

    Args:
        ark: with one utterance at least.

    Returns:
        What its writer was told; None of an ark that was written before that was recorded.

    Raises:
        ValueError: if the file is missing, or holds no Steps.
    """
    try:
        with open(ark, "rb") as file:
            first = _read_array(file, (MADE_TYPE, *ID_TYPES, VALUE_TYPE))
        made = json.loads(first.tobytes()) if first.dtype == MADE_TYPE else None
        if not isinstance(made, dict | None):
            raise ValueError("how they were made is not said by name")
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"no Steps in '{ark}' ({error}); dump them again with stage 8 (dump_steps)"
        ) from error
    return made


def read_steps(location: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Read one utterance's posterior Steps.

    Args:
        location: ``path:offset``.

    Returns:
        unit_ids (U, K) long, probs (U, K) float32, spans (U, 2) frames.

    Raises:
        ValueError: if the file is missing, or holds no such Steps at that offset.
    """
    sample, spans = read_sample(location)
    if "features" in sample:
        raise ValueError(
            f"'{location}' holds encoder outputs, not posteriors: dump with --step_kind posterior"
        )
    return sample["unit_ids"], sample["probs"], spans


def read_sample(location: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Read one utterance's Steps of either kind.

    Args:
        location: ``path:offset``.

    Returns:
        ``unit_ids`` (U, K) long and ``probs`` (U, K) float32, or ``features`` (U, D) float32; and
        spans (U, 2) frames.

    Raises:
        ValueError: if the file is missing, or holds no Steps at that offset.
    """
    path, _, offset = location.rpartition(":")
    try:
        with open(path, "rb") as file:
            file.seek(int(offset))
            first = _read_array(file, (*ID_TYPES, VALUE_TYPE))
            dense = first.dtype == VALUE_TYPE
            probs = None if dense else _read_array(file, (VALUE_TYPE,))
            spans = _read_array(file, (FRAME_TYPE,))
        if (probs is not None and probs.shape != first.shape) or spans.shape != (len(first), 2):
            raise ValueError("its arrays are not of one number of steps")
    except (OSError, ValueError, OverflowError) as error:  # OverflowError: of a huge offset
        raise ValueError(
            f"no Steps at '{location}' ({error}); dump them again with stage 8 (dump_steps)"
        ) from error
    frames = torch.from_numpy(spans.astype(np.int64))
    if probs is None:
        return {"features": torch.from_numpy(first.astype(np.float32))}, frames
    sample = {"unit_ids": torch.from_numpy(first.astype(np.int64))}
    return sample | {"probs": torch.from_numpy(probs.astype(np.float32))}, frames


def _read_array(file: BinaryIO, types: Sequence[np.dtype]) -> np.ndarray:
    """The next array (U, n), of one of the types that are written."""
    try:
        if read_magic(file) != (1, 0):
            raise ValueError("not of the version that is written")
        shape, by_columns, dtype = read_array_header_1_0(file)
    # NumPy reads the header with Python's own tokenizer, which raises anything, even SystemError.
    except Exception as error:
        raise ValueError(f"no array of NumPy's begins there: {type(error).__name__}") from error
    if dtype not in types or len(shape) != 2 or min(shape) < 0:
        raise ValueError(f"an array of type {dtype} and shape {shape}")
    count = math.prod(shape)
    left = os.fstat(file.fileno()).st_size - file.tell()
    if count * dtype.itemsize > left:  # said before memory is set aside for it
        raise ValueError(f"truncated, {left} of {count * dtype.itemsize} bytes are there")
    values = np.fromfile(file, dtype=dtype, count=count)
    return values.reshape(shape[::-1]).T if by_columns else values.reshape(shape)
