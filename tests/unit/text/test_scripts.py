import re

import pytest

from espnet_psslm.text.scripts import UNSPACED, is_unspaced, language_code
from espnet_psslm.text.tasks import translation_task


def test_region_is_no_part_of_the_language() -> None:
    assert [language_code(name) for name in ("zh-CN", "th_th", "EN")] == ["zh", "th", "en"]
    assert translation_task("en", "zh_cn") == "EN2ZH"


@pytest.mark.parametrize("language", ["zh-HK", "yue", "cmn_hans_cn", "ja", "th", "lo", "km", "my"])
def test_written_without_spaces(language: str) -> None:
    assert is_unspaced(language)


def test_written_with_spaces() -> None:
    assert not any(map(is_unspaced, ("en", "ko", "vi", "hi", "jav")))


def test_characters() -> None:
    text = "\u4eba\u3005\u3007\u30ab\U00020bb7\u0e01\u0e33\u0e81\u1780\u1000"
    assert re.fullmatch(f"(?:{UNSPACED.pattern})+", text)
    assert not UNSPACED.search("a1 \u00e9\u0436\u05d0\uac00\u3001")
