"""Decode a data folder with a CTC acoustic model, batched: greedy or beam search, with times.

Usage::

    python -m espnet_psslm.bin.asr_inference --asr_train_config exp/ctc/config.yaml \\
        --asr_model_file exp/ctc/valid.loss.ave.pth --data_dir dump/raw/test \\
        --output_dir exp/ctc/decode/test --batch_size 16 --device auto

    ... --search phone_sync_beam --beam_size 10 --nbest 5 \\
        --ngram_file lm.arpa --ngram_weight 0.5 --hot_words names.txt

``--search``: ``greedy``; ``prefix_beam``, which sums over alignments; ``phone_sync_beam``, the same
over the few steps that phone-synchronous reduction keeps. Options may stand in a YAML file
(``--config``).

Writes, for the n-th best, ``{n}best_recog/{text,token,token_int,score}``, and with the times of a
CTC alignment ``ctm`` (utterance, channel, start, duration, word, confidence) and ``ctm_token``; and
``stats.json``: seconds from audio to text (loading the model and aligning excluded), of it seconds
of search, seconds of audio, frames per step of the search. Utterances whose audio cannot be read
are left out and listed in ``skipped.txt``; more than ``--max_skipped`` of them end in an error,
after all others are written. What is found is kept as it is found, in ``unfinished.jsonl``: the
same command goes on behind it, and ends with the same files. ``made_with.json`` holds a hash of
model and options.

A model that was trained here also works in ESPnet's own ``Speech2Text``, after
``espnet_psslm.registry.register()`` and with ``ctc_weight=1.0`` (its default prints garbage).
"""

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_psslm.bin.command import DEVICE_HELP, command
from espnet_psslm.common.json_files import write_json
from espnet_psslm.common.left_out import check_skipped, write_skipped
from espnet_psslm.inference.options import add_skipped_arguments

if TYPE_CHECKING:
    from espnet_psslm.acoustic.ctc_search import CTCSearch
    from espnet_psslm.acoustic.prefix_scorer import PrefixScorer
    from espnet_psslm.acoustic.recognise import Decoded
    from espnet_psslm.text.words import UnitWords


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    from espnet2.utils.config_argparse import ArgumentParser

    parser = ArgumentParser(
        description="CTC decoding of a data folder.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--asr_train_config", required=True, help="config.yaml of the training")
    parser.add_argument("--asr_model_file", required=True, help="checkpoint")
    parser.add_argument("--data_dir", required=True, help="with wav.scp")
    parser.add_argument("--output_dir", required=True, help="for hypotheses and stats.json")
    parser.add_argument("--batch_size", type=int, default=16, help="utterances per batch")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--search", default="greedy", help="greedy, prefix_beam, phone_sync_beam")
    parser.add_argument("--nbest", type=int, default=1, help="hypotheses per utterance")
    add_skipped_arguments(parser)
    _add_beam_options(parser)
    return parser


def _add_beam_options(parser: argparse.ArgumentParser) -> None:
    beam = parser.add_argument_group("prefix_beam, phone_sync_beam")
    beam.add_argument("--beam_size", type=int, default=10, help="prefixes kept")
    beam.add_argument(
        "--units_per_step", type=int, default=20, help="best units of a frame that are looked at"
    )
    beam.add_argument("--ngram_file", help="n-gram model: .arpa, or KenLM's binary")
    beam.add_argument("--ngram_type", default="word", help="what the n-gram counts: word or unit")
    beam.add_argument("--ngram_weight", type=float, default=0.5, help="beside CTC's 1.0")
    beam.add_argument(
        "--ngram_bonus", type=float, default=0.0, help="added per word (unit) of a hypothesis"
    )
    beam.add_argument("--hot_words", help="file of words or phrases to prefer, one a line")
    beam.add_argument(
        "--hot_word_weight", type=float, default=5.0, help="bonus of each, as a logarithm"
    )
    phone = parser.add_argument_group("phone_sync_beam")
    phone.add_argument("--reduction", default="merge_then_drop", help="or drop_then_merge")
    phone.add_argument(
        "--blank_threshold", type=float, default=0.9, help="blank probability that is left out"
    )


def build_search(
    args: argparse.Namespace, *, blank_id: int, token_list: list[str], words: "UnitWords"
) -> "CTCSearch":
    """The search that the options ask for.

    Raises:
        ValueError: if a choice is unknown, or greedy search is given what only beams can use.
    """
    from espnet_psslm.bridge.phone_sync_search import SEARCHES

    if args.search not in SEARCHES:
        raise ValueError(f"--search {args.search} is unknown; use one of {sorted(SEARCHES)}")
    if args.search == "greedy":
        if args.nbest != 1 or args.ngram_file or args.hot_words:
            raise ValueError(
                "--search greedy finds one hypothesis and hears no --ngram_file or --hot_words; "
                "use --search prefix_beam or phone_sync_beam"
            )
        return SEARCHES["greedy"](blank_id=blank_id)
    options = {
        "beam_size": args.beam_size,
        "nbest": args.nbest,
        "units_per_step": args.units_per_step,
        "scorers": _build_scorers(args, token_list, words),
    }
    if args.search == "phone_sync_beam":
        options |= {"reduction": args.reduction, "blank_threshold": args.blank_threshold}
    return SEARCHES[args.search](blank_id=blank_id, **options)


def _build_scorers(
    args: argparse.Namespace, token_list: list[str], words: "UnitWords"
) -> list["PrefixScorer"]:
    from espnet_psslm.acoustic.hot_words import HotWords, read_hot_words
    from espnet_psslm.acoustic.prefix_scorer import UnitNgram, WordNgram

    scorers: list[PrefixScorer] = []
    if args.ngram_file:
        options = {"weight": args.ngram_weight, "bonus": args.ngram_bonus}
        if args.ngram_type == "word":
            scorers.append(WordNgram(args.ngram_file, words=words, **options))
        elif args.ngram_type == "unit":
            scorers.append(UnitNgram(args.ngram_file, token_list=token_list, **options))
        else:
            raise ValueError(f"--ngram_type {args.ngram_type} is unknown; use word or unit")
    if args.hot_words:
        phrases = read_hot_words(args.hot_words)
        scorers.append(HotWords(phrases, unit_texts=words.unit_texts, weight=args.hot_word_weight))
    return scorers


def run(args: argparse.Namespace) -> dict[str, float]:
    """Load, decode, write.

    Returns:
        What ``stats.json`` holds.

    Raises:
        ValueError: if the model, the data folder or an option cannot be used, or too many
            utterances.
    """
    from espnet_psslm.acoustic.model import load_ctc_acoustic
    from espnet_psslm.acoustic.recog_files import write_hypotheses, write_times
    from espnet_psslm.acoustic.recognise import decode
    from espnet_psslm.common.audio import SAMPLE_RATE
    from espnet_psslm.common.fingerprint import fingerprint
    from espnet_psslm.common.kept_parts import UNFINISHED, KeptParts
    from espnet_psslm.data.audio_batches import AudioBatches
    from espnet_psslm.data.kaldi import recog_folder
    from espnet_psslm.device import resolve_device
    from espnet_psslm.inference.made_with import made_with, write_made_with
    from espnet_psslm.text.words import UnitWords

    batches = AudioBatches(args.data_dir, batch_size=args.batch_size)
    device = resolve_device(args.device)
    acoustic = load_ctc_acoustic(args.asr_train_config, args.asr_model_file, device)
    units = acoustic.units
    words = UnitWords(units.unit_texts(), decode=units.decode)
    names = {"token_list": acoustic.token_list, "words": words}
    search = build_search(args, blank_id=acoustic.blank_id, **names)
    output = Path(args.output_dir)
    model_and_options = made_with(args)
    data = {name: Path(args.data_dir) / name for name in ("wav.scp", "utt2num_samples")}
    belongs_to = fingerprint({"made_with": model_and_options}, data)
    limit = {"num_rows": len(batches.utt_ids), "max_skipped": args.max_skipped}
    with KeptParts(output / UNFINISHED, belongs_to=belongs_to) as kept:
        decoded = decode(acoustic, batches, search, kept=kept)
        start = time.perf_counter()
        for rank in range(args.nbest):
            folder = recog_folder(output, rank)
            write_hypotheses(decoded.ranked(rank), folder, **names)
            if rank == 0:
                wall_s = decoded.wall_s + time.perf_counter() - start - decoded.align_s
            write_times(
                decoded.ranked_spans(rank), folder, frame_shift_s=acoustic.frame_shift_s, **names
            )
        write_skipped(output, batches.skipped)
        audio_s = batches.num_samples / SAMPLE_RATE
        stats = _stats(decoded, wall_s=wall_s, audio_s=audio_s) | limit
        write_json(output / "stats.json", stats)
        write_made_with(output, model_and_options)
        kept.remove()
    if args.judge_skipped:
        check_skipped(output, **limit)
    return stats


def _stats(decoded: "Decoded", *, wall_s: float, audio_s: float) -> dict[str, float]:
    return {
        "wall_s": round(wall_s, 3),
        "search_s": round(decoded.search_s, 3),
        "align_s": round(decoded.align_s, 3),
        "audio_s": round(audio_s, 3),
        "num_utts": len(decoded.nbest),
        "frames_per_step": round(decoded.frames_per_step, 3),
    }


def main(cmd: Sequence[str] | None = None) -> None:
    """Decode a data folder."""
    with command(get_parser(), cmd) as args:
        stats = run(args)
    logging.info(
        "search %s: %.3f s, %.2f frames per step", args.search, stats["search_s"],
        stats["frames_per_step"],
    )  # fmt: skip
    logging.info("decoded %s: %s", args.data_dir, stats)


if __name__ == "__main__":
    main()
