"""When each unit and word was said: CTC alignment of a given unit sequence.

The best single alignment is found by torchaudio (Viterbi over units and blanks). CTC models spike:
a unit covers the frames on which the model was sure of it, which lie inside the time in which it
was spoken. A word lasts from its first unit's first frame to its last unit's last.

Legend: T frames, V units, L units of the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from espnet_psslm.acoustic.ctc_search import frames_needed
from espnet_psslm.text.words import UnitWords


@dataclass(frozen=True)
class UnitSpan:
    """Where one unit of a text lies."""

    unit_id: int
    first_frame: int
    end_frame: int  # one past the last
    prob: float  # its highest posterior in there


@dataclass(frozen=True)
class TimedWord:
    """A word, or a unit, with its times."""

    text: str
    start_s: float
    end_s: float
    confidence: float  # in [0, 1]


def align_units(
    log_posterior: Tensor, unit_ids: Sequence[int], *, blank_id: int
) -> tuple[list[UnitSpan], float]:
    """Align one utterance.

    Args:
        log_posterior: (T, V), log softmax of its valid frames.
        unit_ids: L units, without blanks.
        blank_id: the CTC blank.

    Returns:
        One span per unit, and the log probability of the alignment.

    Raises:
        ValueError: if there are fewer frames than CTC needs for these units.
    """
    if not unit_ids:
        return [], float(log_posterior[:, blank_id].sum())
    if len(log_posterior) < (needed := frames_needed(unit_ids)):
        raise ValueError(
            f"{len(unit_ids)} units need {needed} frames, there are {len(log_posterior)}: the text "
            "does not belong to the audio, or the units are too short for the model's stride"
        )
    # Imported here: torchaudio is not needed to search.
    from torchaudio.functional import forced_align

    # Only the columns that occur: a vocabulary may have 150k units, and the CPU aligns.
    units = [blank_id, *sorted(set(unit_ids))]
    place = {unit: index for index, unit in enumerate(units)}
    columns = log_posterior[:, torch.tensor(units, device=log_posterior.device)].float().cpu()
    targets = torch.tensor([[place[unit] for unit in unit_ids]])
    path, scores = forced_align(columns[None], targets, blank=0)
    labels, frame_scores = path[0].tolist(), scores[0].tolist()
    spans = []
    frame = 0
    for label, run in groupby(labels):
        first, frame = frame, frame + len(list(run))
        if label != 0:
            prob = float(torch.tensor(frame_scores[first:frame]).max().exp())
            spans.append(UnitSpan(units[label], first, frame, prob))
    return spans, sum(frame_scores)


def time_units(
    spans: Sequence[UnitSpan], token_list: Sequence[str], *, frame_shift_s: float
) -> list[TimedWord]:
    """Units as they stand in the token list, with times in seconds."""
    return [
        TimedWord(
            token_list[span.unit_id],
            span.first_frame * frame_shift_s,
            span.end_frame * frame_shift_s,
            span.prob,
        )
        for span in spans
    ]


def time_words(
    spans: Sequence[UnitSpan], words: UnitWords, *, frame_shift_s: float
) -> list[TimedWord]:
    """Words with times and confidence.

    The confidence is the product of the units' highest posteriors: the probability that all of them
    are right, if they were independent.
    """
    unit_ids = [span.unit_id for span in spans]
    timed = []
    for first, end in words.spans(unit_ids):
        confidence = 1.0
        for span in spans[first:end]:
            confidence *= span.prob
        timed.append(
            TimedWord(
                words.text(unit_ids[first:end]),
                spans[first].first_frame * frame_shift_s,
                spans[end - 1].end_frame * frame_shift_s,
                confidence,
            )
        )
    return timed
