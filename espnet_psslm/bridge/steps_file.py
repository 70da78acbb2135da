"""Steps on disk: one ark of many utterances, each reached as ``path:offset``.

A record is NumPy arrays, one after another in NumPy's own format. Posteriors: unit ids (U, K),
probabilities (U, K) in half precision, and frame spans (U, 2). Encoder outputs: values (U, D) in
half precision, and frame spans. Half precision moves a value by at most 5e-4 relative, far below
what distinguishes units.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import read_array

from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps
from espnet_psslm.device import HOST


class StepsWriter:
    """Write Steps utterance by utterance.

    Args:
        ark: file to create; ``locations`` afterwards maps each utterance to ``ark:offset``.
    """

    def __init__(self, ark: str | Path) -> None:
        self.path = Path(ark)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("wb")
        self.locations: dict[str, str] = {}

    def write_batch(self, utt_ids: list[str], steps: PosteriorSteps | FeatureSteps) -> None:
        """Append a batch that came from audio (with frame spans)."""
        steps = steps.to(HOST)
        id_type = np.uint16 if steps.width <= 1 << 16 else np.uint32
        types = {"unit_ids": id_type, "probs": np.float16, "features": np.float16}
        spans = torch.stack([steps.frame_start, steps.frame_end], -1)
        for row, utt_id in enumerate(utt_ids):
            count = int(steps.lengths[row])
            self.locations[utt_id] = f"{self.path}:{self.file.tell()}"
            arrays = {
                name: value.numpy().astype(types[name]) for name, value in steps.sample(row).items()
            }
            for array in (*arrays.values(), spans[row, :count].numpy().astype(np.uint16)):
                np.save(self.file, array, allow_pickle=False)

    def close(self) -> None:
        """Flush the ark and write its index ``*.scp`` beside it."""
        self.file.close()
        lines = [f"{utt_id} {location}\n" for utt_id, location in self.locations.items()]
        self.path.with_suffix(".scp").write_text("".join(lines), encoding="utf-8")

    def __enter__(self) -> "StepsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
            first = read_array(file, allow_pickle=False)
            dense = first.dtype == np.float16
            others = [read_array(file, allow_pickle=False) for _ in range(1 if dense else 2)]
    # OverflowError: an offset beyond all files. MemoryError: a header that announces too much.
    except (OSError, ValueError, EOFError, OverflowError, MemoryError) as error:
        raise ValueError(
            f"no Steps at '{location}' ({error}); dump them again with stage 8 (dump_steps)"
        ) from error
    spans = torch.from_numpy(others[-1].astype(np.int64))
    if dense:
        return {"features": torch.from_numpy(first.astype(np.float32))}, spans
    sample = {"unit_ids": torch.from_numpy(first.astype(np.int64))}
    return sample | {"probs": torch.from_numpy(others[0].astype(np.float32))}, spans
