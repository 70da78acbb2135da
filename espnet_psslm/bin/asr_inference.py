"""Decode a data folder with a CTC acoustic model: greedy, batched.

Usage::

    python -m espnet_psslm.bin.asr_inference --asr_train_config exp/ctc/config.yaml \\
        --asr_model_file exp/ctc/valid.loss.ave.pth --data_dir dump/raw/test \\
        --output_dir exp/ctc/decode/test --batch_size 16 --device auto

Writes ``1best_recog/{text,token,token_int,score}`` and ``stats.json``: seconds from audio to text
(loading the model excluded), seconds of audio, utterances.

A model that was trained here also works in ESPnet's own ``Speech2Text``, after
``espnet_psslm.registry.register()`` and with ``ctc_weight=1.0`` (its default prints garbage).
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_psslm.bin.command import command

if TYPE_CHECKING:
    from espnet_psslm.acoustic.ctc_search import GreedyHypothesis
    from espnet_psslm.acoustic.model import CTCAcoustic
    from espnet_psslm.data.audio_batches import AudioBatches


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = argparse.ArgumentParser(
        description="Greedy CTC decoding of a data folder.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--asr_train_config", required=True, help="config.yaml of the training")
    parser.add_argument("--asr_model_file", required=True, help="checkpoint")
    parser.add_argument("--data_dir", required=True, help="with wav.scp, utt2num_samples")
    parser.add_argument("--output_dir", required=True, help="for hypotheses and stats.json")
    parser.add_argument("--batch_size", type=int, default=16, help="utterances per batch")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda[:n] or npu[:n]")
    return parser


def decode(acoustic: "CTCAcoustic", batches: "AudioBatches") -> dict[str, "GreedyHypothesis"]:
    """Decode all batches.

    Args:
        acoustic: the model.
        batches: the audio.

    Returns:
        Hypothesis of each utterance, in the order of ``wav.scp``.
    """
    from tqdm import tqdm

    from espnet_psslm.acoustic.ctc_search import greedy_search

    hypotheses: dict[str, GreedyHypothesis] = {}
    for batch in tqdm(batches, desc="decode", unit="batch"):
        log_posterior, lengths = acoustic.log_posterior(
            batch.speech.to(acoustic.device), batch.speech_lengths.to(acoustic.device)
        )
        found = greedy_search(log_posterior, lengths, blank_id=acoustic.blank_id)
        hypotheses.update(zip(batch.utt_ids, found, strict=True))
    return {utt_id: hypotheses[utt_id] for utt_id in batches.utt_ids}


def write_hypotheses(
    hypotheses: dict[str, "GreedyHypothesis"],
    folder: Path,
    *,
    token_list: list[str],
    texts: dict[str, str],
) -> None:
    """Write ESPnet's ``text``, ``token``, ``token_int`` and ``score`` files."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        "text": texts,
        "token": {
            utt: " ".join(token_list[unit] for unit in hyp.unit_ids)
            for utt, hyp in hypotheses.items()
        },
        "token_int": {utt: " ".join(map(str, hyp.unit_ids)) for utt, hyp in hypotheses.items()},
        "score": {utt: f"{hyp.score:.4f}" for utt, hyp in hypotheses.items()},
    }
    for name, values in columns.items():
        lines = [f"{utt} {value}".rstrip() + "\n" for utt, value in values.items()]
        (folder / name).write_text("".join(lines), encoding="utf-8")


def run(args: argparse.Namespace) -> dict[str, float]:
    """Load, decode, write.

    Returns:
        ``wall_s``, ``audio_s``, ``num_utts``.

    Raises:
        ValueError: if the model or the data folder cannot be used.
    """
    from espnet_psslm.acoustic.log_mel import SAMPLE_RATE
    from espnet_psslm.acoustic.model import load_ctc_acoustic
    from espnet_psslm.data.audio_batches import AudioBatches
    from espnet_psslm.device import resolve_device

    batches = AudioBatches(args.data_dir, batch_size=args.batch_size)
    device = resolve_device(args.device)
    acoustic = load_ctc_acoustic(args.asr_train_config, args.asr_model_file, device)
    start = time.perf_counter()
    hypotheses = decode(acoustic, batches)
    texts = {utt: acoustic.units.decode(hyp.unit_ids) for utt, hyp in hypotheses.items()}
    wall_s = time.perf_counter() - start
    output = Path(args.output_dir)
    write_hypotheses(
        hypotheses, output / "1best_recog", token_list=acoustic.token_list, texts=texts
    )
    stats = {
        "wall_s": round(wall_s, 3),
        "audio_s": round(batches.num_samples / SAMPLE_RATE, 3),
        "num_utts": len(hypotheses),
    }
    (output / "stats.json").write_text(json.dumps(stats, indent=2) + "\n", encoding="utf-8")
    return stats


def main(cmd: Sequence[str] | None = None) -> None:
    """Decode a data folder.

    Args:
        cmd: arguments; None reads the command line.
    """
    with command(get_parser(), cmd) as args:
        stats = run(args)
    logging.info("decoded %s: %s", args.data_dir, stats)


if __name__ == "__main__":
    main()
