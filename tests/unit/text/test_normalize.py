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


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        # Format characters inside a word are no blanks.
        ("de", "Porte\u00admon\u00adnaie weg", "portemonnaie weg"),
        ("en", "co\u00adop\u2060er\u200date\u200e", "cooperate"),
        ("si", "\u0dc1\u0dca\u200d\u0dbb\u0dd3 \u0dbd\u0d82\u0d9a\u0dcf", None),
        ("fa", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", None),
        ("fa", "\u06a9\u0647\u200c \u200c\u0648", "\u06a9\u0647 \u0648"),
        ("ml", "\u0d05\u0d35\u0d28\u0d4d\u200d", None),  # a joiner that ends a word
        ("en", "I \u2764\ufe0f it 1\ufe0f\u20e3", "i it 1"),
        ("en", "a \u00a8 b", "a b"),
        # Lower case by language.
        ("tr", "I\u015eIK", "\u0131\u015f\u0131k"),
        ("tr-TR", "\u0130yi I\u0307yi", "iyi iyi"),
        ("az", "QIZ", "q\u0131z"),
        ("en", "QUIZ", "quiz"),
        # Letters that look like punctuation, and signs inside words.
        ("uz", "O\u02bbzbekiston", "o\u02bbzbekiston"),
        (
            "uz",
            "O\u2018zbekiston O'zbek tog\u2019 san\u2019at",
            "o\u02bbzbekiston o\u02bbzbek tog\u02bb san'at",
        ),
        (
            "ca",
            "col\u00b7lecci\u00f3 co\u0140lega a\u00b7b",
            "col\u00b7lecci\u00f3 col\u00b7lega a b",
        ),
        ("he", "\u05e6\u05d4\u05f4\u05dc", None),
        (
            "he",
            '\u05e6\u05d4"\u05dc \u05d2\'\u05d9 "\u05d2"',
            "\u05e6\u05d4\u05f4\u05dc \u05d2\u05f3\u05d9 \u05d2",
        ),
        ("hy", "\u056b\u0576\u0579\u0578\u055e\u0582", "\u056b\u0576\u0579\u0578\u0582"),
        ("my", "\u1000\u104f\u104b \u1001", "\u1000\u104f\u1001"),
        # Windows-1252 that was read as Latin-1.
        ("en", "don\u2019t don\x92t don\u2018t", "don't don't don't"),
        ("en", "\x93it\x92s\x94 \x96 na\x9cud", "it's na\u0153ud"),
        # No space between characters of scripts without one.
        ("zh", "\ud842\udfb7 \u91ce \u5bb6", "\U00020bb7\u91ce\u5bb6"),
        ("ja", "\u4eba \u3005", "\u4eba\u3005"),
        ("zh", "\u4e8c \u3007 \u4e8c", "\u4e8c\u3007\u4e8c"),
        ("th", "\u0e19\u0e49\u0e33 \u0e14\u0e35 ok", "\u0e19\u0e49\u0e33\u0e14\u0e35 ok"),
        ("km", "\u1780\u17b6\u200b\u1781", "\u1780\u17b6\u1781"),
    ],
)
def test_languages(language: str, text: str, expected: str | None) -> None:
    text = text.encode("utf-16", "surrogatepass").decode("utf-16")  # as JSON writes ideographs
    normalised = normalize_text(text, language)
    assert normalised == (text if expected is None else expected)
    for other in (language, "en"):  # nothing is lost where a reader does not know the language
        assert normalize_text(normalised, other) == normalised


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
