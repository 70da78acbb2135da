"""Draw word times over the spectrogram, with the posterior's spikes below: one PNG per utterance.

Usage::

    python -m espnet_psslm.bin.plot_posterior --asr_train_config exp/ctc/config.yaml \\
        --asr_model_file exp/ctc/valid.loss.ave.pth --data_dir dump/raw/dev --output_dir plots \\
        --recog_dir exp/ctc/decode/dev/1best_recog

Draws the hypotheses of ``--recog_dir`` (its ``token_int``), or greedy ones. Writes
``UTTERANCE.png``; ``file_names.txt`` tells whose pictures have another name.
"""

import argparse
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_psslm.bin.command import DEVICE_HELP, command, new_parser

if TYPE_CHECKING:
    from torch import Tensor

    from espnet_psslm.acoustic.model import CTCAcoustic
    from espnet_psslm.text.words import UnitWords


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = new_parser("Draw word times over the spectrogram and the posterior's spikes.")
    parser.add_argument("--asr_train_config", required=True, help="config.yaml of the training")
    parser.add_argument("--asr_model_file", required=True, help="checkpoint")
    parser.add_argument("--data_dir", required=True, help="with wav.scp")
    parser.add_argument("--output_dir", required=True, help="for the pictures")
    parser.add_argument("--recog_dir", help="of asr_inference; else greedy search is run")
    parser.add_argument("--utts", nargs="+", default=[], help="utterances to draw")
    parser.add_argument(
        "--num_utts",
        type=int,
        default=5,
        help="without --utts: the first so many (that have a hypothesis)",
    )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    return parser


def choose(args: argparse.Namespace, known: Sequence[str], found: Collection[str]) -> list[str]:
    """Utterances to draw.

    Args:
        args: of the command line.
        known: utterances of the data folder.
        found: those that ``--recog_dir`` has; without it, none.

    Raises:
        ValueError: if one is not in the data folder.
    """
    missing = [utt for utt in args.utts if utt not in set(known)]
    if missing:
        raise ValueError(f"--utts {missing[0]}: not in {args.data_dir}/wav.scp")
    # What asr_inference has left out has no hypothesis. If nothing has one, the first says so.
    return args.utts or ([utt for utt in known if utt in found] or list(known))[: args.num_utts]


def draw(
    acoustic: "CTCAcoustic",
    words: "UnitWords",
    speech: "Tensor",
    unit_ids: list[int] | None,
    *,
    utt_id: str,
    path: Path,
) -> None:
    """Draw one utterance.

    Args:
        acoustic: the model.
        words: groups units into words.
        speech: (N,), 16 kHz.
        unit_ids: hypothesis; None runs greedy search.
        utt_id: for the title and errors.
        path: the PNG.

    Raises:
        ValueError: if the hypothesis cannot be aligned.
    """
    import torch

    from espnet_psslm.acoustic.align import align_units, time_units, time_words
    from espnet_psslm.acoustic.ctc_search import GreedySearch
    from espnet_psslm.acoustic.plot import plot_posterior
    from espnet_psslm.acoustic.whisper import FEATURE_SHIFT_S

    batch = speech[None].to(acoustic.device), torch.tensor([len(speech)], device=acoustic.device)
    log_posterior, lengths = acoustic.log_posterior(*batch)
    rows = log_posterior[0, : int(lengths[0])]
    if unit_ids is None:
        result = GreedySearch(blank_id=acoustic.blank_id)(log_posterior, lengths)
        unit_ids = result.nbest[0][0].unit_ids
    try:
        spans, _ = align_units(rows, unit_ids, blank_id=acoustic.blank_id)
    except ValueError as error:
        raise ValueError(f"{utt_id}: {error}") from error
    features, feature_lengths = acoustic.model.frontend(*batch)
    shift = {"frame_shift_s": acoustic.frame_shift_s}
    plot_posterior(
        path,
        title=f"{utt_id}: {words.text(unit_ids)}",
        features=features[0, : int(feature_lengths[0])].cpu().numpy(),
        feature_shift_s=FEATURE_SHIFT_S,
        posterior=rows.exp().cpu().numpy(),
        blank_id=acoustic.blank_id,
        words=time_words(spans, words, **shift),
        units=time_units(spans, acoustic.token_list, **shift),
        unit_ids=unit_ids,
        **shift,
    )


def run(args: argparse.Namespace) -> list[Path]:
    """Load and draw.

    Returns:
        The pictures.

    Raises:
        ValueError: if the model, the data folder or an utterance cannot be used.
    """
    import torch

    from espnet_psslm.acoustic.model import load_ctc_acoustic
    from espnet_psslm.common.file_names import file_name, write_file_names
    from espnet_psslm.data.audio import AudioError, AudioScpReader
    from espnet_psslm.data.kaldi import read_table
    from espnet_psslm.device import resolve_device
    from espnet_psslm.text.words import UnitWords

    audio = AudioScpReader(Path(args.data_dir) / "wav.scp")
    found = read_table(Path(args.recog_dir) / "token_int") if args.recog_dir else {}
    utt_ids = choose(args, list(audio), found)
    if args.recog_dir and (lacking := [utt for utt in utt_ids if utt not in found]):
        raise ValueError(f"--recog_dir {args.recog_dir}: its token_int lacks {lacking[0]}")
    device = resolve_device(args.device)
    acoustic = load_ctc_acoustic(args.asr_train_config, args.asr_model_file, device)
    units = acoustic.units
    words = UnitWords(units.unit_texts(), decode=units.decode)
    output = Path(args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    pictures = []
    for utt in utt_ids:
        unit_ids = [int(unit) for unit in found[utt].split()] if args.recog_dir else None
        try:
            speech = torch.from_numpy(audio[utt])
        except AudioError as error:
            logging.warning("not drawn: %s", error)
            continue
        pictures.append(output / f"{file_name(utt)}.png")
        draw(acoustic, words, speech, unit_ids, utt_id=utt, path=pictures[-1])
    write_file_names(output, utt_ids)
    return pictures


def main(cmd: Sequence[str] | None = None) -> None:
    """Draw utterances of a data folder."""
    with command(get_parser(), cmd) as args:
        pictures = run(args)
    logging.info("drew %d utterances: %s", len(pictures), args.output_dir)


if __name__ == "__main__":
    main()
