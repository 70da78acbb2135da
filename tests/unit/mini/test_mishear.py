from collections import Counter

from corpus import make_splits
from grammar import Grammar, Sentence
from mishear import MISHEARD_SHARE, Mishearing

from espnet_psslm.data.labelled import LabelledUtterance


def _sentence(text: str, *fillers: str) -> Sentence:
    entities = tuple(("device_type", filler) for filler in fillers)
    return Sentence(text, "iot", "wemo_off", "iot_wemo_off-seen0", True, entities)


def _hear(sentences: list[Sentence], **settings) -> list[str | None]:
    mishearing = Mishearing(sentences, **({"kept_out": (), "reserved": (), "seed": 1} | settings))
    return [mishearing(sentence) for sentence in sentences]


def test_one_word_is_heard_as_known_words_and_all_else_as_it_was_said() -> None:
    fillers = [f"{first} {last}" for first in "abcdefghijuvwxyz" for last in "klmnopqrst"]
    sentences = [_sentence(f"turn the {filler} off", filler) for filler in fillers]
    pairs = zip(sentences, _hear(sentences), strict=True)
    heard = [(sentence.text.split(), text.split()) for sentence, text in pairs if text]
    assert abs(len(heard) / len(sentences) - MISHEARD_SHARE) < 0.12
    known = {word for sentence in sentences for word in sentence.text.split()}
    lengths, missing = Counter(), Counter()
    for said, words in heard:
        start = next((i for i in range(5) if [said[i]] != words[i : i + 1]), 5)
        assert said[start + 1 :] == words[len(words) - len(said) + start + 1 :]
        assert set(words) <= known
        lengths[len(words) - len(said)] += 1
        missing[start] += 1
    assert set(lengths) == {-1, 0, 1} and lengths.most_common(1)[0][0] == 0
    # "turn" is long enough, both words of the slot are always candidates.
    assert min(missing[0], missing[2], missing[3]) > 5


def test_words_that_are_spelled_alike_are_confused() -> None:
    # With so few words all are candidates: the most similar one is always taken.
    sentences = [_sentence(f"{n} museum", "museum") for n in ("music", *"abcdefghi")]
    heard = {word for text in _hear(sentences, seed=5)[1:] if text for word in text.split()[1:]}
    assert heard == {"music"}


def test_short_words_outside_slots_are_heard_as_said() -> None:
    assert set(_hear([_sentence(f"set it on or off {n}") for n in range(50)])) == {None}


def test_nothing_held_out_and_no_other_sentence_comes_out() -> None:
    sentences = [_sentence(f"{n} museum", "museum") for n in ("music", *"abcdefghi")]
    heard = [text for text in _hear(sentences) if text]
    assert heard
    assert not set(heard) & {text for text in _hear(sentences, reserved=heard)}
    assert not any("music" in text for text in _hear(sentences, kept_out=["music"]) if text)


def test_the_grammar_promises_hold_for_what_is_heard() -> None:
    grammar = Grammar()
    splits = make_splits(
        grammar, seed=1, num_text=2500, num_train=800, num_sft=50, num_dev=50, num_test=100
    )
    held = [value for slots in grammar.slots.values() for value in slots.held]
    reserved = {s.text for s in [*splits.text, *splits.dev, *splits.test]}
    heard = _hear(splits.text, kept_out=held, reserved=reserved)
    others = [f" {text} " for text in heard if text]
    assert 0.7 * MISHEARD_SHARE < len(others) / len(splits.text) < 1.1 * MISHEARD_SHARE
    assert not any(f" {value} " in text for text in others for value in held)
    assert not {text.strip() for text in others} & reserved
    assert heard == _hear(splits.text, kept_out=held, reserved=reserved)  # the same every time


def test_half_of_the_transcripts_have_one_or_two_other_words() -> None:
    sentences = [
        _sentence(f"turn the {first} {last} off") for first in "abcdefghij" for last in "kl"
    ]
    mishearing = Mishearing(sentences * 10, kept_out=["a k"], reserved=["turn the b k off"], seed=3)
    many = [_sentence(f"{s.text} {n}") for s in sentences for n in range(10)]
    varied = [mishearing.vary(sentence) for sentence in many]
    assert 0.4 < sum(text is not None for text in varied) / len(many) < 0.5
    for sentence, text in zip(many, varied, strict=True):
        if text is None:
            continue
        pairs = list(zip(sentence.text.split(), text.split(), strict=True))
        assert 0 <= sum(said != other for said, other in pairs) <= 2
        assert all(other in mishearing.words for said, other in pairs if said != other)
        assert " a k " not in f" {text} " and text != "turn the b k off"
    assert varied == [mishearing.vary(sentence) for sentence in many]


def test_each_task_is_asked_of_its_own_text() -> None:
    utterance = LabelledUtterance(
        "u1", "turn the toaster off", said="turn red toaster off", heard="turn the joke off",
        scenario="iot", action="wemo_off", slu_entities=True, extra={"entities": []},
    )  # fmt: skip
    heard = {row["task"]: (row["GT"], row["target"]) for row in utterance.rows()}
    assert heard == {
        "ASR": ("turn red toaster off", "turn red toaster off"),
        "SLU_scenario": ("turn the joke off", "iot"),
        "SLU_action": ("turn the joke off", "wemo_off"),
        "SLU_entities": ("turn the toaster off", utterance.rows()[3]["target"]),
    }
