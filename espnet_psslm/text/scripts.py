"""Writing systems: which are written without spaces between words, and which language uses one."""

import re
from functools import cache

# ISO 639: Chinese, Mandarin, Cantonese, Japanese, Thai, Lao, Khmer, Burmese.
UNSPACED_LANGUAGES = ("zh", "cmn", "yue", "ja", "th", "lo", "km", "my")

# Between two of these no space is written: ideographs with their iteration marks, extensions and
# compatibility forms, kana; Thai, Lao, Burmese and Khmer with their vowel signs.
UNSPACED_CHARACTERS = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
    "\u0e01-\u0e4e\u0e81-\u0ece\u1000-\u109f\u1780-\u17d3\u17d7\u17dc\u17dd"
)
UNSPACED = re.compile(f"[{UNSPACED_CHARACTERS}]")


@cache
def language_code(language: str) -> str:
    """Return a language without its region: "zh-CN" and "zh_cn" are "zh"."""
    return re.split("[-_]", language, maxsplit=1)[0].lower()


@cache
def is_unspaced(language: str) -> bool:
    """Tell whether a language is written without spaces between words.

    Args:
        language: code, a region may follow.

    Returns:
        True for those whose error rates are counted in characters.
    """
    return language_code(language) in UNSPACED_LANGUAGES
