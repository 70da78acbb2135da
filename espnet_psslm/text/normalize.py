"""The one text normalisation of the package.

CTC training text, the transcripts that posteriors are simulated from, and both sides of a
word error rate go through the same function: a simulated posterior then looks like a real one,
and no error is counted for a comma.
"""

import re
import unicodedata
from functools import cache

APOSTROPHES = "'\u2019\u02bc\u0060\u00b4"  # typewriter, curly, modifier letter, grave, acute
UNSPACED_LANGUAGES = ("zh", "ja")  # written without spaces between words

_NOT_INNER_APOSTROPHE = re.compile(r"(?<![^\W_])'|'(?![^\W_])")
_HAN_OR_KANA = r"[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
_SPACE_BETWEEN_HAN = re.compile(rf"(?<={_HAN_OR_KANA})\s+(?={_HAN_OR_KANA})")
_TO_APOSTROPHE = str.maketrans(dict.fromkeys(APOSTROPHES, "'"))


class _Spaces(dict[int, int]):
    """Punctuation and symbols to spaces, but for the apostrophe; filled as characters are met."""

    def __missing__(self, code: int) -> int:
        character = chr(code)
        dropped = character != "'" and unicodedata.category(character)[0] in "PSC"
        self[code] = ord(" ") if dropped else code
        return self[code]


_TO_SPACE = _Spaces()
# All that happens to a character of ASCII, at once.
_PLAIN = {code: _TO_SPACE[ord(chr(code).lower().translate(_TO_APOSTROPHE))] for code in range(128)}


def normalize_text(text: str, language: str = "en") -> str:
    """Lower the case, drop punctuation and symbols, collapse white space.

    An apostrophe inside a word stays ("o'clock"), all others go. Letters, digits and combining
    marks of every script are kept as they are: nothing is transliterated or spelled out.

    Args:
        text: any text.
        language: ISO 639-1 code, a region may follow ("zh-CN"). For languages written without
            spaces ("zh", "ja"), white space between two of their characters is dropped.

    Returns:
        The normalised text, possibly empty.
    """
    if text.isascii():
        text = text.translate(_PLAIN)
    else:
        # Before NFKC: it splits a spacing acute accent into a space and a combining mark.
        text = text.translate(_TO_APOSTROPHE)
        text = unicodedata.normalize("NFKC", text).lower().translate(_TO_SPACE)
    if "'" in text:
        text = _NOT_INNER_APOSTROPHE.sub(" ", text)
    text = " ".join(text.split())
    if is_unspaced(language):
        text = _SPACE_BETWEEN_HAN.sub("", text)
    return text


@cache
def is_unspaced(language: str) -> bool:
    """Tell whether a language is written without spaces between words.

    Args:
        language: code, a region may follow.

    Returns:
        True for Chinese and Japanese: their error rates are counted in characters.
    """
    return language.split("-")[0].lower() in UNSPACED_LANGUAGES


def describe_normalization(language: str) -> str:
    """Say what :func:`normalize_text` does, for a table of results.

    Args:
        language: code, a region may follow.

    Returns:
        One line.
    """
    spaces = ", no space between two ideographs or kana" if is_unspaced(language) else ""
    return (
        f"{language}: NFKC, lower case, no punctuation or symbols but apostrophes inside words"
        f"{spaces}; digits and letters as they are"
    )
