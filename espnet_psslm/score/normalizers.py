"""Normalisations that both sides of an error rate may go through.

Error rates can be compared only under one normalisation. Ours is the one that training text goes
through; Whisper's (arXiv 2212.04356, appendix C) is the Open ASR leaderboard's: it spells numbers
in digits, writes British words as American ones and drops fillers, so its rates are lower.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from espnet_psslm.text.normalize import describe_normalization, normalize_text
from espnet_psslm.text.scripts import is_unspaced, language_code


@dataclass(frozen=True)
class Normalizer:
    """One normalisation."""

    apply: Callable[[str, str], str]  # text and language to text
    describe: Callable[[str], str]  # language to one line for a table


@cache
def _whisper(is_english: bool) -> Callable[[str], str]:
    # Takes its tables from a file; most scores do not ask for it.
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer() if is_english else BasicTextNormalizer()


def whisper_text(text: str, language: str = "en") -> str:
    """Normalise as Whisper's authors do: English in a way of its own, all others alike.

    Args:
        text: any text.
        language: code, a region may follow.

    Returns:
        The text; without any space where the language has none between words, which are then
        counted in characters.
    """
    words = _whisper(language_code(language) == "en")(text).split()
    return ("" if is_unspaced(language) else " ").join(words)


def _describe_whisper(language: str) -> str:
    kind = "English" if language_code(language) == "en" else "basic"
    spaces = ", no spaces" if is_unspaced(language) else ""
    return f"{language}: Whisper's {kind} normaliser (package whisper-normalizer){spaces}"


NORMALIZERS = {
    "psslm": Normalizer(normalize_text, describe_normalization),
    "whisper": Normalizer(whisper_text, _describe_whisper),
}
