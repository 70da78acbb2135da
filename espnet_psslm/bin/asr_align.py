"""Align given texts to audio with a CTC acoustic model: when was each word said.

Usage::

    python -m espnet_psslm.bin.asr_align --asr_train_config exp/ctc/config.yaml \\
        --asr_model_file exp/ctc/valid.loss.ave.pth --data_dir dump/raw/test --output_dir aligned

The texts are ``text`` of the data folder, or ``--text``; they must be normalised as the acoustic
model's own training text was. Writes ``ctm`` (utterance, channel, start, duration, word,
confidence), ``ctm_token`` for units, and ``score``: the alignment's log probability per frame, by
which wrong texts can be found. Utterances that cannot be aligned are listed in ``skipped.txt``.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_psslm.bin.command import DEVICE_HELP, command, new_parser

if TYPE_CHECKING:
    from espnet_psslm.acoustic.align import UnitSpan
    from espnet_psslm.acoustic.model import CTCAcoustic
    from espnet_psslm.data.audio_batches import AudioBatches
    from espnet_psslm.text.units import Units


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = new_parser("Align given texts to audio with a CTC acoustic model.")
    parser.add_argument("--asr_train_config", required=True, help="config.yaml of the training")
    parser.add_argument("--asr_model_file", required=True, help="checkpoint")
    parser.add_argument("--data_dir", required=True, help="with wav.scp, utt2num_samples, text")
    parser.add_argument("--text", help="texts in place of the data folder's: utterance text")
    parser.add_argument("--output_dir", required=True, help="for ctm, ctm_token, score")
    parser.add_argument("--batch_size", type=int, default=16, help="utterances per batch")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    return parser


def align(
    acoustic: "CTCAcoustic",
    batches: "AudioBatches",
    units: "Units",
    texts: dict[str, str],
) -> tuple[dict[str, list["UnitSpan"]], dict[str, str], dict[str, str]]:
    """Align all batches.

    Args:
        acoustic: the model.
        batches: the audio.
        units: makes texts units.
        texts: of the utterances.

    Returns:
        Per utterance, in the order of ``wav.scp``: the alignment; log probability per frame, as
        text; and, where there is neither, why.
    """
    from espnet_psslm.acoustic.align import align_units
    from espnet_psslm.progress import track

    found: dict[str, tuple[list[UnitSpan], str]] = {}
    skipped: dict[str, str] = {}
    for batch in track(batches, len(batches), "align", units="batches"):
        log_posterior, lengths = acoustic.log_posterior(
            batch.speech.to(acoustic.device), batch.speech_lengths.to(acoustic.device)
        )
        for utt, row, length in zip(batch.utt_ids, log_posterior, lengths.tolist(), strict=True):
            try:
                if utt not in texts:
                    raise ValueError("it has no text")
                unit_ids = units.encode(texts[utt])
                if units.unk_id in unit_ids:
                    raise ValueError("its text has characters that are not in the vocabulary")
                spans, log_prob = align_units(row[:length], unit_ids, blank_id=acoustic.blank_id)
            except ValueError as error:
                skipped[utt] = str(error)
            else:
                found[utt] = spans, f"{log_prob / max(length, 1):.4f}"
    skipped |= batches.skipped  # their audio cannot be read
    order = [utt for utt in batches.utt_ids if utt in found]
    spans_of = {utt: found[utt][0] for utt in order}
    return spans_of, {utt: found[utt][1] for utt in order}, skipped


def run(args: argparse.Namespace) -> None:
    """Load, align, write.

    Raises:
        ValueError: if the model or the data folder cannot be used, or nothing can be aligned.
    """
    from espnet_psslm.acoustic.model import load_ctc_acoustic
    from espnet_psslm.acoustic.recog_files import write_times
    from espnet_psslm.common.left_out import write_skipped
    from espnet_psslm.data.audio_batches import AudioBatches
    from espnet_psslm.data.kaldi import read_table, write_table
    from espnet_psslm.device import resolve_device
    from espnet_psslm.text.words import UnitWords

    batches = AudioBatches(args.data_dir, batch_size=args.batch_size)
    texts = read_table(args.text or Path(args.data_dir) / "text")
    device = resolve_device(args.device)
    acoustic = load_ctc_acoustic(args.asr_train_config, args.asr_model_file, device)
    units = acoustic.units
    spans, scores, skipped = align(acoustic, batches, units, texts)
    if not spans:
        utt, reason = next(iter(skipped.items()), ("-", "the data folder is empty"))
        raise ValueError(f"{args.data_dir}: no utterance can be aligned; {utt}: {reason}")
    output = Path(args.output_dir)
    write_times(
        spans,
        output,
        token_list=acoustic.token_list,
        words=UnitWords(units.unit_texts(), decode=units.decode),
        frame_shift_s=acoustic.frame_shift_s,
    )
    write_table(output / "score", scores)
    write_skipped(output, skipped)
    logging.info("aligned %d utterances of %s: %s/ctm", len(spans), args.data_dir, output)


def main(cmd: Sequence[str] | None = None) -> None:
    """Align a data folder."""
    with command(get_parser(), cmd) as args:
        run(args)


if __name__ == "__main__":
    main()
