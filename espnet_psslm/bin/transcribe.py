"""Answer audio files with a packed model: transcripts, translations, labels.

    espnet-psslm transcribe a.wav b.mp3 --task EN2DE --model exp/psslm.zip
    cat a.flac | espnet-psslm transcribe - --model user/model --format json
    espnet-psslm transcribe *.wav --model exp/psslm.zip --format srt --output_dir subtitles

Files may have any rate and any length; long ones are cut at silences. One file gives its text
alone, several a line each, ``NAME<TAB>TEXT``. JSON: a line for each file. SRT: subtitles of at most
``--segment_s``. With ``--output_dir``, ``NAME.txt``, ``.json`` or ``.srt`` there. A file that
cannot be used is named at the end, after all others are answered; the exit status is 1 then.

A recording that sounds unlike anything that the model was trained on has an empty answer, and a
warning says so, if the pack can tell (``calibrate``). JSON has it as "outside", with the
"confidence" (0 to 1) that decided it. ``--answer_anyway true`` shows what the model would
say.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_psslm.atomic import atomic_text
from espnet_psslm.bin.command import DEVICE_HELP, MAX_UNPACKED_HELP, command, new_parser
from espnet_psslm.common.file_names import file_name
from espnet_psslm.common.json_files import json_line
from espnet_psslm.common.switch import add_switch, add_trust

if TYPE_CHECKING:
    from espnet_psslm.inference.outside import Familiarity
    from espnet_psslm.inference.speech2text import Speech2Text
    from espnet_psslm.llm.answers import Hypothesis

STDIN = "-"
SUFFIXES = {"text": ".txt", "json": ".json", "srt": ".srt"}
UNLIKE = "unlike anything that the model was trained on"


@dataclass(frozen=True)
class Segment:
    """An answered stretch of a recording."""

    start_s: float
    end_s: float
    answer: "Hypothesis"

    def text(self, args: argparse.Namespace) -> str:
        """What is shown of the answer: nothing, where the model only guesses."""
        hidden = self.answer.outside and not args.answer_anyway
        return "" if hidden else self.answer.text


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = new_parser(__doc__)
    parser.add_argument("audio", nargs="+", help="wav, mp3, m4a, webm, ...; - is standard input")
    parser.add_argument("--model", help="archive of stage 14, folder of one, or its hub name")
    parser.add_argument("--max_unpacked_gb", type=float, help=MAX_UNPACKED_HELP)
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
    add_switch(
        parser,
        "--answer_anyway",
        help="true: answer also what sounds unlike anything that the model was trained on (false)",
    )
    parser.add_argument("--beam_size", type=int, default=4, help="beams; 1 is greedy (4)")
    parser.add_argument("--max_new_tokens", type=int, default=200, help="longest answer (200)")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    add_trust(parser)
    return parser


def load(args: argparse.Namespace) -> "Speech2Text":
    """Load the model.

    Raises:
        ValueError: if none is named, or it cannot be used, or has no such task.
    """
    files = (args.psslm_train_config, args.psslm_model_file)
    if (args.model is None) == (None in files) or (args.model and files != (None, None)):
        raise ValueError("give --model, or --psslm_train_config and --psslm_model_file")
    from espnet_psslm.inference.speech2text import Speech2Text

    options = {
        "device": args.device,
        "beam_size": args.beam_size,
        "max_new_tokens": args.max_new_tokens,
        "trust_remote_code": args.trust_remote_code,
    }
    if args.model is not None:
        model = Speech2Text.from_pretrained(
            args.model, max_unpacked_gb=args.max_unpacked_gb, **options
        )
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
    from espnet_psslm.common.audio import SAMPLE_RATE
    from espnet_psslm.data.audio import read_audio, read_open_file

    if source == STDIN:
        with open(0, "rb", closefd=False) as stream:
            waveform = read_open_file(stream, name="standard input")
    else:
        waveform = read_audio(source)
    fields = dict(pair.partition("=")[::2] for pair in args.field)
    if args.format == "srt":
        found = model.subtitles(waveform, args.task, longest_s=args.segment_s, **fields)
        return [Segment(*piece) for piece in found]
    [best, *_] = model(waveform, args.task, **fields)
    return [Segment(0.0, len(waveform) / SAMPLE_RATE, best[3])]


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
        said = [(segment, text) for segment in segments if (text := segment.text(args))]
        blocks = (
            f"{number}\n{clock(s.start_s)} --> {clock(s.end_s)}\n{text}\n"
            for number, (s, text) in enumerate(said, 1)
        )
        return "\n".join(blocks)
    [whole] = segments
    if args.format == "json":
        row = {"file": source, "task": args.task, "text": whole.text(args)}
        row |= {"score": round(whole.answer.score, 4), "duration_s": round(whole.end_s, 3)}
        if whole.answer.confidence is not None:
            row |= {"outside": whole.answer.outside}
            row |= {"confidence": round(whole.answer.confidence, 4)}
        return json_line(row)
    text = " ".join(whole.text(args).split())
    several = len(args.audio) > 1 and args.output_dir is None
    return f"{source}\t{text}\n" if several else f"{text}\n"


def doubt(
    source: str,
    segments: Sequence[Segment],
    args: argparse.Namespace,
    familiarity: "Familiarity | None",
) -> str:
    """What there is to say where the model does not know what was said; else empty.

    Args:
        source: name of the recording.
        segments: its answers.
        args: of the command line.
        familiarity: what the model calls outside.
    """
    answers = [segment.answer for segment in segments]
    outside = [answer for answer in answers if answer.outside]
    if not outside:
        return ""
    threshold = f"{familiarity.threshold:.3f}"
    shown = args.answer_anyway
    if args.format == "srt":
        heard = [answer for answer in answers if answer.outside or answer.text]
        what = "are guesses" if shown else "are left out"
        hint = "" if shown else "; --answer_anyway true keeps them"
        return (
            f"{source}: {len(outside)} of {len(heard)} subtitles {what}, since the speech sounds "
            f"{UNLIKE} (confidence below {threshold} of 1){hint}"
        )
    what = "the answer is a guess" if shown else "no answer"
    hint = "" if shown else ". --answer_anyway true shows what it would say"
    return (
        f"{source}: sounds {UNLIKE} (confidence {outside[0].confidence:.3f} of 1, below "
        f"{threshold}): {what}{hint}"
    )


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
    return "stdin" if source == STDIN else file_name(Path(source).stem)


def run(args: argparse.Namespace) -> Iterator[tuple[int, str]]:
    """Answer all recordings, and write or print what becomes of each.

    Yields:
        Why one could not be used, as (``logging.ERROR``, reason), and which the model does not
        know, as (``logging.WARNING``, reason).

    Raises:
        ValueError: if the model or an option cannot be used.
    """
    from espnet_psslm.progress import show_progress

    check(args)
    model = load(args)
    with show_progress(len(args.audio), "transcribe", units="files") as progress:
        for source in args.audio:
            try:
                segments = answer(model, source, args)
            except ValueError as error:
                reason = str(error).removeprefix(f"{source}: ")  # audio is named already
                yield logging.ERROR, f"{source}: {reason}"
            else:
                text = render(source, segments, args)
                if args.output_dir is None:
                    sys.stdout.write(text)
                    sys.stdout.flush()
                else:
                    args.output_dir.mkdir(parents=True, exist_ok=True)
                    path = args.output_dir / f"{_name(source)}{SUFFIXES[args.format]}"
                    atomic_text(path, text)
                if reason := doubt(source, segments, args, model.familiarity):
                    yield logging.WARNING, reason
            progress(1)


def main(cmd: Sequence[str] | None = None) -> None:
    """Answer recordings."""
    parser = get_parser()
    with command(parser, cmd) as args:
        found = list(run(args))  # said at the end, behind the answers
    for level, reason in found:
        logging.log(level, "%s", reason)
    if failed := sum(level == logging.ERROR for level, _ in found):
        parser.exit(1, f"transcribe: error: {failed} of {len(args.audio)} files failed\n")


if __name__ == "__main__":
    main()
