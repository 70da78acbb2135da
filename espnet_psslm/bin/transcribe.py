"""Answer audio files with a packed model: transcripts, translations, labels.

    espnet-psslm transcribe a.wav b.mp3 --task EN2DE --model exp/psslm.zip
    cat a.flac | espnet-psslm transcribe - --model user/model --format json
    espnet-psslm transcribe *.wav --model exp/psslm.zip --format srt --output_dir subtitles

Files may have any rate and any length; long ones are cut at silences. One file gives its text
alone, several a line each, ``NAME<TAB>TEXT``. JSON: a line for each file. SRT: subtitles of at most
``--segment_s``. With ``--output_dir``, ``NAME.txt``, ``.json`` or ``.srt`` there. A file that
cannot be used is named at the end, after all others are answered; the exit status is 1 then.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_psslm.bin.command import DEVICE_HELP, command

if TYPE_CHECKING:
    from espnet_psslm.speech2text import Speech2Text

STDIN = "-"
SUFFIXES = {"text": ".txt", "json": ".json", "srt": ".srt"}


@dataclass(frozen=True)
class Segment:
    """An answered stretch of a recording."""

    start_s: float
    end_s: float
    text: str
    score: float  # log probability per token


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("audio", nargs="+", help="wav, flac, mp3, ...; - is standard input")
    parser.add_argument("--model", help="archive of stage 14, folder of one, or its hub name")
    parser.add_argument("--psslm_train_config", help="in place of --model: config.yaml")
    parser.add_argument("--psslm_model_file", help="its checkpoint")
    parser.add_argument("--task", default="ASR", help="what to answer, e.g. ASR, EN2DE (ASR)")
    parser.add_argument(
        "--field",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what the task's prompt asks for, e.g. hotword=Aachen",
    )
    parser.add_argument("--format", choices=SUFFIXES, default="text", help="of the output (text)")
    parser.add_argument("--output_dir", type=Path, help="a file for each recording")
    parser.add_argument(
        "--segment_s", type=float, default=8.0, help="longest subtitle, in seconds (8)"
    )
    parser.add_argument("--beam_size", type=int, default=4, help="beams; 1 is greedy (4)")
    parser.add_argument("--max_new_tokens", type=int, default=200, help="longest answer (200)")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    return parser


def load(args: argparse.Namespace) -> "Speech2Text":
    """Load the model.

    Raises:
        ValueError: if none is named, or it cannot be used, or has no such task.
    """
    files = (args.psslm_train_config, args.psslm_model_file)
    if (args.model is None) == (None in files) or (args.model and files != (None, None)):
        raise ValueError("give --model, or --psslm_train_config and --psslm_model_file")
    from espnet_psslm.speech2text import Speech2Text

    options = {
        "device": args.device,
        "beam_size": args.beam_size,
        "max_new_tokens": args.max_new_tokens,
    }
    if args.model is not None:
        model = Speech2Text.from_pretrained(args.model, **options)
    else:
        model = Speech2Text(*files, **options)
    if args.task not in model.tasks:
        raise ValueError(f"--task {args.task}: the model knows {', '.join(model.tasks)}")
    return model


def answer(model: "Speech2Text", source: str, args: argparse.Namespace) -> list[Segment]:
    """Answer one recording.

    Args:
        model: loaded.
        source: file, or ``-``.
        args: of the command line.

    Returns:
        Its segments: one, unless subtitles are asked for.

    Raises:
        ValueError: if it cannot be used.
    """
    from espnet_psslm.data.audio import SAMPLE_RATE, read_audio

    waveform = read_audio("cat -|" if source == STDIN else source)
    pieces = [waveform]
    if args.format == "srt":
        pieces = model.cut(waveform, longest_s=args.segment_s)
    fields = dict(pair.partition("=")[::2] for pair in args.field)
    segments, place = [], 0
    for piece, [best, *_] in zip(pieces, model(pieces, args.task, **fields), strict=True):
        start, place = place, place + len(piece)
        seconds = (start / SAMPLE_RATE, place / SAMPLE_RATE)
        segments.append(Segment(*seconds, best[0], best[3].score))
    return segments


def clock(seconds: float) -> str:
    """SRT's ``HH:MM:SS,mmm``."""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02},{rest % 1000:03}"


def render(source: str, segments: Sequence[Segment], args: argparse.Namespace) -> str:
    """One recording's output, with a line end.

    Args:
        source: its name.
        segments: its answers.
        args: of the command line.
    """
    if args.format == "srt":
        said = [segment for segment in segments if segment.text]
        blocks = (
            f"{number}\n{clock(s.start_s)} --> {clock(s.end_s)}\n{s.text}\n"
            for number, s in enumerate(said, 1)
        )
        return "\n".join(blocks)
    [whole] = segments
    if args.format == "json":
        row = {"file": source, "task": args.task, "text": whole.text}
        row |= {"score": round(whole.score, 4), "duration_s": round(whole.end_s, 3)}
        return json.dumps(row, ensure_ascii=False) + "\n"
    text = " ".join(whole.text.split())
    several = len(args.audio) > 1 and args.output_dir is None
    return f"{source}\t{text}\n" if several else f"{text}\n"


def check(args: argparse.Namespace) -> None:
    """Raise ValueError where options do not fit each other."""
    if args.format == "srt" and len(args.audio) > 1 and args.output_dir is None:
        raise ValueError("--format srt with several files needs --output_dir")
    if lacking := [pair for pair in args.field if "=" not in pair]:
        raise ValueError(f"--field {lacking[0]}: write NAME=VALUE")
    if args.segment_s < 1:
        raise ValueError(f"--segment_s {args.segment_s:g}: must be at least 1 second")
    names = [_name(source) for source in args.audio]
    if args.output_dir and len(set(names)) < len(names):
        raise ValueError("--output_dir: two of the files have the same name")


def _name(source: str) -> str:
    return "stdin" if source == STDIN else Path(source).stem


def run(args: argparse.Namespace) -> Iterator[str]:
    """Answer all recordings, and write or print what becomes of each.

    Yields:
        Why one could not be used.

    Raises:
        ValueError: if the model or an option cannot be used.
    """
    from espnet_psslm.progress import show_progress

    check(args)
    model = load(args)
    with show_progress(len(args.audio), "transcribe", units="files") as progress:
        for source in args.audio:
            try:
                text = render(source, answer(model, source, args), args)
            except ValueError as error:
                yield f"{source}: {error}"
            else:
                if args.output_dir is None:
                    sys.stdout.write(text)
                    sys.stdout.flush()
                else:
                    args.output_dir.mkdir(parents=True, exist_ok=True)
                    path = args.output_dir / f"{_name(source)}{SUFFIXES[args.format]}"
                    path.write_text(text, encoding="utf-8")
            progress(1)


def main(cmd: Sequence[str] | None = None) -> None:
    """Answer recordings.

    Args:
        cmd: arguments; None reads the command line.
    """
    parser = get_parser()
    with command(parser, cmd) as args:
        problems = list(run(args))
    for problem in problems:
        logging.error("%s", problem)
    if problems:
        parser.exit(1, f"transcribe: error: {len(problems)} of {len(args.audio)} files failed\n")


if __name__ == "__main__":
    main()
