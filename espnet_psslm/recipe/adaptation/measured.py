"""What the acoustic model of a pack does on given recordings, for the simulation to do the same."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from espnet_psslm.bridge.measure import measure
from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.data.audio import read_audio
from espnet_psslm.data.labelled import LabelledUtterance
from espnet_psslm.progress import track
from espnet_psslm.tasks.psslm_parts import build_acoustic
from espnet_psslm.text.units import Units
from espnet_psslm.training.builders import reduction_of, with_defaults


def measure_errors(
    packed: Mapping[str, Any],
    recordings: Sequence[LabelledUtterance],
    *,
    units: Units,
    device: torch.device,
) -> dict[str, Any]:
    """Hear recordings of known texts and count the errors.

    Args:
        packed: configuration of the packed model.
        recordings: with their texts.
        units: of the acoustic model.
        device: where it is to run.

    Returns:
        What :func:`espnet_psslm.bridge.measure.measure` returns.

    Raises:
        ValueError: if a recording cannot be read, or nothing of its text is heard.
    """
    heard = _hear(packed, recordings, units=units, device=device)
    return measure(heard, num_units=units.num_units, blank_id=units.blank_id)


@torch.no_grad()
def _hear(
    packed: Mapping[str, Any],
    recordings: Sequence[LabelledUtterance],
    *,
    units: Units,
    device: torch.device,
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    args = with_defaults(dict(packed) | {"source": "audio"})
    acoustic = build_acoustic(args, units).to(device).eval()
    reduction = reduction_of(args)
    for utterance in track(recordings, len(recordings), "measure", units="recordings"):
        try:
            speech = torch.from_numpy(read_audio(utterance.path))[None].to(device)
        except ValueError as error:
            raise ValueError(f"--measure, {utterance.utt}: {error}") from error
        lengths = torch.tensor([speech.shape[1]], device=device)
        steps = acoustic.to_steps(speech, lengths, reduction, kind=PosteriorSteps)
        yield units.encode(utterance.text), steps.unit_ids[0].cpu(), steps.probs[0].cpu()
