import pytest

from espnet_psslm.text.normalize import normalize_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's  SEVEN o\u2019clock, 'tis!", "it's seven o'clock tis"),
        ("don`t\u2014stop\u2026 dogs' 'hi'", "don't stop dogs hi"),
        ("rock\u00b4n\u00b4roll", "rock'n'roll"),
        ("a_b-c\t50%\n\ufb01ne \uff21", "a b c 50 fine a"),
        ("Sch\u00f6n, \u00c4\u00d6 Stra\u00dfe", "sch\u00f6n \u00e4\u00f6 stra\u00dfe"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940"),
        (
            "\u4eca\u5929\u5929\u6c14\uff0c\u600e\u4e48\u6837\uff1f",
            "\u4eca\u5929\u5929\u6c14 \u600e\u4e48\u6837",
        ),
        ("\ufeffzero\u200bwidth", "zero width"),
        ("?!", ""),
        ("", ""),
    ],
)
def test_english(text: str, expected: str) -> None:
    assert normalize_text(text) == expected


def test_combining_and_composed_letters_become_equal() -> None:
    assert normalize_text("scho\u0308n") == normalize_text("sch\u00f6n")


def test_chinese_drops_spaces_between_its_characters_only() -> None:
    text = "\u4eca\u5929 \u5929\u6c14\uff0c\u600e\u4e48\u6837 ok \u597d ok go"
    expected = "\u4eca\u5929\u5929\u6c14\u600e\u4e48\u6837 ok \u597d ok go"
    assert normalize_text(text, "zh-CN") == expected


@pytest.mark.parametrize("language", ["en", "de", "zh"])
def test_twice_is_once(language: str) -> None:
    once = normalize_text(
        "'Twas \u2018fine\u2019\u2014\u4f60 \u597d; d'acc\u00f3rd \u00bd", language
    )
    assert normalize_text(once, language) == once
