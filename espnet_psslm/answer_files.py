"""Files of decoded answers: ``{n}best_recog/{text,score}``, and what else is known of the best."""

from pathlib import Path

from espnet_psslm.data.kaldi import recog_folder, write_in_order
from espnet_psslm.inference.decoded import Decoded


def write_answers(folder: Path, decoded: Decoded, *, nbest: int) -> None:
    """Write the answers to one task.

    ``1best_recog`` also gets ``confidence`` where there is one, and ``fallback``, the reason of
    each answer that is CTC's text, where there are such.

    Args:
        folder: of the task.
        decoded: answers.
        nbest: ranks to write; a rank that a row has no answer for lacks its key.
    """
    for rank in range(nbest):
        hypotheses = decoded.ranked(rank)
        recog = recog_folder(folder, rank)
        recog.mkdir(parents=True, exist_ok=True)
        # An answer takes one line, whatever is in it.
        write_in_order(recog / "text", {k: " ".join(h.text.split()) for k, h in hypotheses.items()})
        write_in_order(recog / "score", {k: f"{h.score:.4f}" for k, h in hypotheses.items()})
    columns = {
        "confidence": {key: f"{value:.6f}" for key, value in decoded.confidence.items()},
        "fallback": {k: h.fallback for k, h in decoded.hypotheses.items() if h.fallback},
    }
    for name, values in columns.items():
        path = recog_folder(folder) / name
        if values:
            write_in_order(path, values)
        else:
            path.unlink(missing_ok=True)  # of an earlier run with other options


def answer_stats(decoded: Decoded, *, guarded: bool) -> dict[str, float]:
    """What ``stats.json`` holds.

    Args:
        decoded: answers.
        guarded: whether answers might fall back to CTC's text.
    """
    stats = {
        "wall_s": round(decoded.wall_s, 3),
        "audio_s": round(decoded.audio_s, 3),
        "num_samples": len(decoded.nbest),
        "num_cut": decoded.num_cut,
    }
    if guarded:
        stats["num_fallbacks"] = sum(bool(h.fallback) for h in decoded.hypotheses.values())
    return stats
