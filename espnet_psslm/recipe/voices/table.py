"""The table of voices: who speaks, on which synthesiser, and for which sets."""

import argparse
import logging
from collections.abc import Collection
from pathlib import Path

from espnet_psslm.common.lines import read_lines
from espnet_psslm.recipe.voices.engines import Voice, engine_class, installed_version

VOICES_FILE = Path(__file__).parent / "voices.txt"
SPLITS = ("train", "dev", "test", "dev_natural", "test_natural", "test_engines")
COLUMNS = "name engine source factor pace pitch share split"
NO_PITCH = "-"
NEURAL = ("hibari", "kokoro")
SPEAKERS = ("espeak", *NEURAL)  # engines of --voices
PROGRAMS = ("flite", "festival")  # speak in a test set alone, where they are installed


def add_voice_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who speaks."""
    parser.add_argument(
        "--voices",
        nargs="+",
        choices=SPEAKERS,
        default=list(SPEAKERS),
        help="synthesisers that speak; espeak alone needs no package of requirements-voices.txt",
    )
    parser.add_argument("--voice_table", default=str(VOICES_FILE), help="table of voices")


def find_voices(args: argparse.Namespace, *splits: str) -> list[Voice]:
    """Find the voices that speak a set.

    Args:
        args: the options of :func:`add_voice_options`.
        splits: of the table, whose voices speak in turns.

    Returns:
        Those voices of these splits that ``--voices`` asks for.

    Raises:
        ValueError: if an engine is not installed, or there is no such voice.
    """
    for engine in args.voices:
        installed_version(engine)
    voices = [v for v in read_voices(args.voice_table, engines=args.voices) if v.split in splits]
    if not voices:
        raise ValueError(
            f"--voices {' '.join(args.voices)}: {args.voice_table} has no voice of these in split "
            f"{' or '.join(splits)}; name more synthesisers"
        )
    return voices


def read_voices(
    path: str | Path = VOICES_FILE, *, engines: Collection[str] | None = None
) -> list[Voice]:
    """Read the table of voices.

    Args:
        path: lines of ``COLUMNS``; "#" starts a comment line.
        engines: only their voices; None: all.

    Returns:
        The voices in the order of the table.

    Raises:
        ValueError: if a line is not of that form, a name comes twice, or there is no such engine.
    """
    voices: dict[str, Voice] = {}
    for number, line in read_lines(path):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            voice = _parse(line)
            if voice.name in voices:
                raise ValueError("this name comes twice")
        except ValueError as error:
            raise ValueError(
                f"{path}:{number}: {line!r} is no voice: {error}; write '{COLUMNS}', the split "
                f"one of {', '.join(SPLITS)}"
            ) from error
        voices[voice.name] = voice
    return [v for v in voices.values() if engines is None or v.engine in engines]


def find_program_voices(path: str | Path = VOICES_FILE) -> list[Voice]:
    """Find the voices of programs that are installed here, for the split ``test_engines``.

    Args:
        path: the table; a voice that a program lacks is left out and logged.
    """
    voices = [v for v in read_voices(path, engines=PROGRAMS) if v.split == "test_engines"]
    listed = {name: (engine_class(name).find_version() or "").split() for name in PROGRAMS}
    found = [voice for voice in voices if voice.source in listed[voice.engine]]
    if found and (lacking := [voice.name for voice in voices if voice not in found]):
        logging.info("not installed, and left out of test_engines: %s", " ".join(lacking))
    return found


def _parse(line: str) -> Voice:
    fields = line.split()
    if len(fields) != len(COLUMNS.split()):
        raise ValueError(f"{len(fields)} columns")
    name, engine, source, factor, pace, pitch, share, split = fields
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}")
    if (pitch != NO_PITCH) != engine_class(engine).has_pitch:
        needs = "needs a pitch" if pitch == NO_PITCH else f"has no pitch, write {NO_PITCH}"
        raise ValueError(f"{engine} {needs}")
    given_pitch = None if pitch == NO_PITCH else float(pitch)
    voice = Voice(name, engine, source, float(factor), float(pace), given_pitch, int(share), split)
    if voice.factor <= 0 or voice.pace <= 0 or voice.share < 1:
        raise ValueError("factor and pace must exceed 0, share must be at least 1")
    return voice
