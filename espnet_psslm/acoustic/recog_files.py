"""Files of CTC decoding: ESPnet's ``text``, ``token``, ``token_int`` and ``score``, and times.

``ctm`` has NIST's columns: utterance, channel, start and duration in seconds, word, confidence.
``ctm_token`` is the same for units.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_psslm.acoustic.align import TimedWord, UnitSpan, time_units, time_words
from espnet_psslm.acoustic.ctc_search import Hypothesis
from espnet_psslm.atomic import atomic_text
from espnet_psslm.data.kaldi import write_table
from espnet_psslm.text.words import UnitWords

CHANNEL = 1


def write_hypotheses(
    hypotheses: Mapping[str, Hypothesis],
    folder: Path,
    *,
    token_list: Sequence[str],
    words: UnitWords,
) -> None:
    """Write ``text``, ``token``, ``token_int`` and ``score``.

    Args:
        hypotheses: one per utterance.
        folder: made where it is missing.
        token_list: the units.
        words: makes units a text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        "text": lambda hyp: words.text(hyp.unit_ids),
        "token": lambda hyp: " ".join(token_list[unit] for unit in hyp.unit_ids),
        "token_int": lambda hyp: " ".join(map(str, hyp.unit_ids)),
        "score": lambda hyp: f"{hyp.score:.4f}",
    }
    for name, column in columns.items():
        write_table(folder / name, {utt: column(hyp) for utt, hyp in hypotheses.items()})


def write_times(
    spans: Mapping[str, Sequence[UnitSpan]],
    folder: Path,
    *,
    token_list: Sequence[str],
    words: UnitWords,
    frame_shift_s: float,
) -> None:
    """Write ``ctm`` and ``ctm_token``.

    Args:
        spans: alignment of each utterance.
        folder: made where it is missing.
        token_list: the units.
        words: groups units into words.
        frame_shift_s: of the posterior.
    """
    folder.mkdir(parents=True, exist_ok=True)
    word_lines, unit_lines = [], []
    for utt, aligned in spans.items():
        timed = time_words(aligned, words, frame_shift_s=frame_shift_s)
        word_lines += _ctm_lines(utt, timed)
        unit_lines += _ctm_lines(utt, time_units(aligned, token_list, frame_shift_s=frame_shift_s))
    atomic_text(folder / "ctm", "".join(word_lines))
    atomic_text(folder / "ctm_token", "".join(unit_lines))


def _ctm_lines(utt: str, timed: Sequence[TimedWord]) -> list[str]:
    # White space inside would be a column more.
    return [
        f"{utt} {CHANNEL} {item.start_s:.3f} {item.end_s - item.start_s:.3f} "
        f"{'_'.join(item.text.split()) or '_'} {item.confidence:.4f}\n"
        for item in timed
    ]
