"""Draw an utterance from spectrogram to answer: one PNG a row of the manifest.

    python -m espnet_psslm.bin.plot_steps --psslm_train_config exp/psslm_sft/config.yaml \\
        --psslm_model_file exp/psslm_sft/valid.acc.ave.pth --manifest dump/raw/test/psslm.jsonl \\
        --output_dir exp/psslm_sft/plots

Spectrogram; CTC posterior; what reduction kept of it, with each step's unit; and the tokens that
the language model wrote. Writes ``KEY.png``; ``file_names.txt`` tells whose pictures have another
name.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_psslm.bin.command import DEVICE_HELP, command, new_parser
from espnet_psslm.common.switch import add_trust

if TYPE_CHECKING:
    from espnet_psslm.bridge.plot import HeardUtterance
    from espnet_psslm.inference.decoder import PSSLMDecoder


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = new_parser("Draw spectrogram, posterior, steps and answer.")
    parser.add_argument("--psslm_train_config", required=True, help="config.yaml of the training")
    parser.add_argument("--psslm_model_file", required=True, help="checkpoint")
    parser.add_argument("--manifest", required=True, help="JSON Lines, rows with audio")
    parser.add_argument("--output_dir", required=True, help="for the pictures")
    parser.add_argument("--keys", nargs="+", default=[], help="rows to draw")
    parser.add_argument("--num_rows", type=int, default=5, help="without --keys: the first so many")
    parser.add_argument("--beam_size", type=int, default=4, help="beams; 1 is greedy")
    parser.add_argument("--max_new_tokens", type=int, default=64, help="longest answer")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    add_trust(parser)
    return parser


def choose(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows to draw.

    Raises:
        ValueError: if one is not in the manifest, or has no audio.
    """
    from espnet_psslm.data.manifest import read_manifest

    rows = read_manifest(args.manifest)
    if unknown := [key for key in args.keys if key not in rows]:
        raise ValueError(f"--keys {unknown[0]}: not in {args.manifest}")
    chosen = [rows[key] for key in args.keys] or list(rows.values())[: args.num_rows]
    if silent := [row["key"] for row in chosen if "path" not in row]:
        raise ValueError(f"{args.manifest}: row '{silent[0]}' has no audio (field 'path') to draw")
    return chosen


def listen(decoder: "PSSLMDecoder", row: dict[str, Any]) -> "HeardUtterance":
    """What the model makes of one row.

    Raises:
        ValueError: if the row cannot be used, or the acoustic model has no posterior.
    """
    import torch

    from espnet_psslm.acoustic.log_mel import HOP, LogMel
    from espnet_psslm.bridge.plot import HeardUtterance
    from espnet_psslm.common.audio import SAMPLE_RATE
    from espnet_psslm.data.audio import read_audio
    from espnet_psslm.device import HOST

    (answer,) = decoder.decode([row])
    acoustic = decoder.model.acoustic.module
    if not acoustic.has_ctc:
        raise ValueError("the acoustic model has no CTC posterior to draw; name a CTC model")
    speech = torch.from_numpy(read_audio(row["path"]))[None]
    lengths = torch.tensor([speech.shape[1]])
    features, _ = LogMel()(speech, lengths)
    with torch.no_grad():
        log_posterior, num_frames = acoustic.log_posterior(
            speech.to(decoder.device), lengths.to(decoder.device)
        )
        posterior = log_posterior.exp()
        steps = decoder.model.reduction(posterior, num_frames).to(HOST)
    count = int(steps.lengths[0])
    bounds = zip(steps.frame_start[0, :count], steps.frame_end[0, :count], strict=True)
    return HeardUtterance(
        title=f"{row['key']}: {answer.text}",
        features=features[0].numpy(),
        feature_shift_s=HOP / SAMPLE_RATE,
        posterior=posterior[0, : int(num_frames[0])].float().cpu().numpy(),
        frame_shift_s=acoustic.frame_shift_s,
        blank_id=decoder.model.reduction.blank_id,
        spans=[(int(start), int(end)) for start, end in bounds],
        unit_ids=steps.unit_ids[0, :count, 0].tolist(),
        unit_texts=acoustic.token_list,
        tokens=[decoder.answerer.tokenizer.decode([token]) for token in answer.token_ids],
    )


def run(args: argparse.Namespace) -> list[Path]:
    """Load, listen and draw.

    Returns:
        The pictures.

    Raises:
        ValueError: if the model or a row cannot be used.
    """
    rows = choose(args)

    from espnet_psslm.bridge.plot import steps_figure
    from espnet_psslm.common.file_names import file_name, write_file_names
    from espnet_psslm.common.plots import save_png
    from espnet_psslm.inference.decoder import PSSLMDecoder

    decoder = PSSLMDecoder(
        args.psslm_train_config,
        args.psslm_model_file,
        device=args.device,
        source="audio",
        batch_size=1,
        beam_size=args.beam_size,
        max_new_tokens=args.max_new_tokens,
        trust_remote_code=args.trust_remote_code,
    )
    pictures = []
    for row in rows:
        pictures.append(Path(args.output_dir) / f"{file_name(row['key'])}.png")
        save_png(steps_figure(listen(decoder, row)), pictures[-1])
    write_file_names(args.output_dir, [row["key"] for row in rows])
    return pictures


def main(cmd: Sequence[str] | None = None) -> None:
    """Draw rows of a manifest."""
    with command(get_parser(), cmd) as args:
        pictures = run(args)
    logging.info("drew %d rows: %s", len(pictures), args.output_dir)


if __name__ == "__main__":
    main()
