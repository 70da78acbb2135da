import pytest

from espnet_psslm.text.slu_answer import SLUAnswer, parse_answer

ANSWER = SLUAnswer("alarm", "set", (("time", "half past 7: sharp"), ("date", "to-morrow")))
LINE = "alarm | set | time: half past 7: sharp | date: to-morrow"


def test_there_and_back():
    assert ANSWER.text() == LINE
    assert parse_answer(LINE) == ANSWER
    assert parse_answer("iot | coffee") == SLUAnswer("iot", "coffee")
    assert SLUAnswer.of("alarm", "set", [{"type": "time", "filler": "noon"}]).text() == (
        "alarm | set | time: noon"
    )


def test_white_space_does_not_count():
    assert parse_answer("  alarm|set |time:  half past 7: sharp|\tdate: to-morrow ") == ANSWER


@pytest.mark.parametrize(
    "line",
    [
        "",
        "alarm",
        "alarm set",
        "| set",
        "alarm |",
        "set alarm | set",
        "alarm | set |",
        "alarm | set | noon",
        "alarm | set | time:",
        "alarm | set | time:noon",
        "alarm | set | : noon",
        "alarm | set | the time: noon",
        "alarm | set | | time: noon",
        "<alarm> | set",
    ],
)
def test_what_is_no_answer(line):
    with pytest.raises(ValueError, match="is no|has no"):
        parse_answer(line)


@pytest.mark.parametrize(
    "answer",
    [
        SLUAnswer("", "set"),
        SLUAnswer("alarm", "set", (("time", ""),)),
        SLUAnswer("alarm", "set", (("time", "a | b"),)),
        SLUAnswer("alarm", "set", (("time", "a\nb"),)),
    ],
)
def test_what_could_not_be_read_back_is_not_written(answer):
    with pytest.raises(ValueError):
        answer.text()


@pytest.mark.parametrize("entity", [{"type": "time"}, {"type": "time", "filler": 7}, "noon"])
def test_entities_need_type_and_filler(entity):
    with pytest.raises(ValueError, match="needs the texts 'type' and 'filler'"):
        SLUAnswer.of("alarm", "set", [entity])
