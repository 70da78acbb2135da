"""Words of unit sequences."""

from espnet_psslm.text.words import UnitWords, spell_words

TEXTS = ["", " turn", "ed", " ", "on", " on", "", "\u4f60", "\u597d", "!"]


def make_words() -> UnitWords:
    def decode(unit_ids):
        return "".join(TEXTS[unit] for unit in unit_ids)

    return UnitWords(TEXTS, decode=decode)


def test_a_word_begins_at_a_space_or_an_ideograph() -> None:
    assert make_words().begins.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 1, 0]


def test_spans() -> None:
    words = make_words()
    cases = {
        (1, 2, 5): [(0, 2), (2, 3)],  # turn|ed on
        (2, 1): [(0, 1), (1, 2)],  # the first unit begins a word though it has no space
        (1, 3, 4, 3): [(0, 1), (2, 3)],  # a lone space belongs to no word
        (7, 8, 9): [(0, 1), (1, 3)],  # ideographs one by one, what follows with the last
        (0, 6): [],  # special units have no text
        (1, 6, 2): [(0, 3)],
        (): [],
    }
    for unit_ids, spans in cases.items():
        assert words.spans(unit_ids) == spans, unit_ids
    assert words.text((1, 2, 5)) == "turned on"


def test_thai_signs_begin_no_word() -> None:
    words = UnitWords(["", "\u0e14", "\u0e35"], decode=lambda ids: "\u0e14\u0e35"[: len(ids)])
    assert words.begins.tolist() == [False, True, False]
    assert words.spans((1, 2, 1)) == [(0, 2), (2, 3)]
    assert spell_words("ok \u3005\u3007 go") == ["ok", "\u3005", "\u3007", "go"]
