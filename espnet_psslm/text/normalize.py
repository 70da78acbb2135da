"""The one text normalisation of the package.

CTC training text, the transcripts that posteriors are simulated from, and both sides of a
word error rate go through the same function: a simulated posterior then looks like a real one,
and no error is counted for a comma.

What is kept or dropped does not depend on the language, so a text that was normalised for one
language stays as it is under another; only lower case, Uzbek's letter U+02BB and white space do.
"""

import re
import unicodedata
from collections.abc import Callable

from espnet_psslm.text.scripts import UNSPACED_CHARACTERS, is_unspaced, language_code

# Typewriter, curly, single quotes that are typed in its place, modifier letter, Armenian, grave,
# acute, full width.
APOSTROPHES = "'\u2019\u2018\u201b\u02bc\u055a`\u00b4\uff07"
_HEBREW = "[\u05d0-\u05ea]"
# Scripts whose spelling uses the joiners: Arabic to Burmese with India's, Khmer and Mongolian.
_JOINING = "[\u0600-\u109f\u1780-\u18af]"

# Windows-1252 read as Latin-1 leaves its punctuation among the control characters.
_WINDOWS = {
    code: bytes([code]).decode("cp1252")
    for code in range(0x80, 0xA0)
    if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)  # not assigned
}
# Format characters that mean something: zero width space separates words, the joiners spell.
_ZERO_WIDTH_SPACE, _JOINERS = "\u200b", "\u200c\u200d"
# Combining marks that nobody hears: grapheme joiner, variation selectors, an emoji's key cap.
_SILENT_MARKS = re.compile("[\u034f\u20e3\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# Armenian writes its emphasis, exclamation and question marks inside the word.
_INSIDE_WORDS = "\u055b\u055c\u055e\u055f"
# Punctuation by Unicode, but letters to the reader: Burmese signs that are words, Catalan's middle
# dot, Hebrew's geresh and gershayim. Those three are so at their place only, as an apostrophe is.
_PLACED = frozenset("'\u00b7\u05f3\u05f4")
_LETTERS = _PLACED | frozenset("\u104c\u104d\u104e\u104f")

_MISPLACED = re.compile(
    r"(?<![^\W_])'|'(?![^\W_])"
    r"|(?<!l)\u00b7|\u00b7(?!l)"
    rf"|(?<!{_HEBREW})\u05f3|(?<!{_HEBREW})\u05f4|\u05f4(?!{_HEBREW})"
)
# A non-joiner has something to keep apart; a joiner may end a word, behind a vowel killer.
_IDLE_JOINER = re.compile(rf"(?<!{_JOINING})[{_JOINERS}]+|\u200c+(?=['\s]|$)")
_TYPED_GERESH = re.compile(f"(?<={_HEBREW})'(?={_HEBREW})")
_TYPED_GERSHAYIM = re.compile(f'(?<={_HEBREW})["\u201c\u201d](?={_HEBREW})')
_SPACE_BETWEEN_UNSPACED = re.compile(rf"(?<=[{UNSPACED_CHARACTERS}])\s+(?=[{UNSPACED_CHARACTERS}])")


class _Table(dict[int, str]):
    """For ``str.translate``: what becomes of each character, filled as characters are met."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, code: int) -> str:
        self[code] = self._rule(chr(code))
        return self[code]


def _tidy(character: str) -> str:
    """What happens before NFKC, which takes spacing accents apart into a space and a mark."""
    character = _WINDOWS.get(ord(character), character)
    if character in APOSTROPHES:
        return "'"
    if character in _JOINERS:
        return character
    if character == _ZERO_WIDTH_SPACE or unicodedata.category(character) == "Sk":
        return " "
    silent = unicodedata.category(character) == "Cf" or character in _INSIDE_WORDS
    return "" if silent or _SILENT_MARKS.match(character) else character


def _blank(character: str) -> str:
    """Punctuation, symbols and control characters to spaces."""
    if character in _LETTERS or character in _JOINERS:
        return character
    return " " if unicodedata.category(character)[0] in "PSC" else character


_TIDY, _BLANK = _Table(_tidy), _Table(_blank)
# All that happens to a character of ASCII, at once.
_PLAIN = {code: _blank(_tidy(chr(code).lower())) for code in range(128)}


def _turkic(text: str) -> str:
    """Lower the two letters I of Turkish: one has a dot in both cases, one in neither."""
    return text.replace("I\u0307", "i").replace("\u0130", "i").replace("I", "\u0131")


def _uzbek(text: str) -> str:
    """Write the letters o and g with a turned comma, whichever apostrophe was typed."""
    return re.sub(f"(?<=[OoGg])[{APOSTROPHES}\x91\x92]", "\u02bb", text)


_SPELLINGS = {**dict.fromkeys(("tr", "az", "crh", "gag"), _turkic), "uz": _uzbek}


def normalize_text(text: str, language: str = "en") -> str:
    """Lower the case, drop punctuation and symbols, collapse white space.

    An apostrophe inside a word stays ("o'clock"), all others go. Letters, digits and combining
    marks of every script are kept as they are: nothing is transliterated or spelled out. Format
    characters are deleted (soft hyphen), but for joiners where they spell (Persian, Sinhala).

    Args:
        text: any text.
        language: ISO 639 code, a region may follow ("zh-CN"). Decides on lower case (Turkish); for
            languages written without spaces, white space between two of their characters is
            dropped.

    Returns:
        The normalised text, possibly empty.
    """
    if spell := _SPELLINGS.get(language_code(language)):
        text = spell(text)
    if text.isascii():
        text = text.translate(_PLAIN)
    else:
        text = unicodedata.normalize("NFKC", text.translate(_TIDY))
        # Thai and Lao vowels that NFKC takes apart, and keyboards have as one.
        text = text.replace("\u0e4d\u0e32", "\u0e33").replace("\u0ecd\u0eb2", "\u0eb3")
        text = _TYPED_GERESH.sub("\u05f3", _TYPED_GERSHAYIM.sub("\u05f4", text))
        text = _IDLE_JOINER.sub("", text.lower().translate(_BLANK))
    if not _PLACED.isdisjoint(text):
        text = _MISPLACED.sub(" ", text)
    text = " ".join(text.split())
    if is_unspaced(language):
        text = _SPACE_BETWEEN_UNSPACED.sub("", text)
    return text


def describe_normalization(language: str) -> str:
    """Say what :func:`normalize_text` does, for a table of results.

    Args:
        language: code, a region may follow.

    Returns:
        One line.
    """
    spaces = ", no space between two characters of its script" if is_unspaced(language) else ""
    return (
        f"{language}: NFKC, lower case, no punctuation or symbols but apostrophes and signs inside "
        f"words{spaces}; digits and letters as they are"
    )
