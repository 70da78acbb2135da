import pytest

from espnet_psslm.score.error_rate import error_rate
from espnet_psslm.score.normalizers import NORMALIZERS, whisper_text


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Uh, it's colour number twenty-one!", "en-GB", "it is color number 21"),
        ("Schön, zwanzig (lacht) Grüße!", "de", "schön zwanzig grüße"),
        ("今天，天气 很好。", "zh-CN", "今天天气很好"),
    ],
)
def test_as_whispers_authors_do(text: str, language: str, expected: str) -> None:
    assert whisper_text(text, language) == expected


def test_error_rates_say_their_normaliser() -> None:
    refs, hyps = {"a": "it is twenty-one"}, {"a": "It's 21."}
    ours = error_rate(refs, hyps, unit="word", seed=0)
    whisper = error_rate(refs, hyps, unit="word", seed=0, normalizer="whisper")
    assert (ours.rate, ours.normalizer) == (1.0, "psslm")
    assert (whisper.rate, whisper.normalizer) == (0.0, "whisper")


def test_each_is_described() -> None:
    assert "NFKC" in NORMALIZERS["psslm"].describe("en")
    assert "English" in NORMALIZERS["whisper"].describe("en")
    assert "basic" in NORMALIZERS["whisper"].describe("th")
