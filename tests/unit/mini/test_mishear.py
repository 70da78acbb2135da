import re

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


def test_a_slot_is_heard_as_known_words_and_all_else_as_it_was_said() -> None:
    fillers = [f"{first} {last}" for first in "abcdefghij" for last in "klmnopqrst"]
    sentences = [_sentence(f"turn the {filler} off", filler) for filler in fillers]
    heard = [text for text in _hear(sentences) if text is not None]
    assert abs(len(heard) / len(sentences) - MISHEARD_SHARE) < 0.12
    known = {word for sentence in sentences for word in sentence.text.split()}
    lengths = set()
    for text in heard:
        match = re.fullmatch(r"turn the (.+) off", text)
        assert match and set(match[1].split()) <= known
        lengths.add(len(match[1].split()))
    assert lengths == {2, 3}  # one word replaced, by one or two


def test_words_that_are_spelled_alike_are_confused() -> None:
    # With so few words all are candidates: the most similar one is always taken.
    sentences = [_sentence(f"{n} museum", "museum") for n in ("music", *"abcdef")]
    heard = {text.split()[1] for text in _hear(sentences, seed=5) if text}
    assert heard == {"music"}


def test_sentences_without_slots_are_heard_as_said() -> None:
    assert set(_hear([_sentence(f"make me laugh {n}") for n in range(50)])) == {None}


def test_nothing_held_out_and_no_other_sentence_comes_out() -> None:
    sentences = [_sentence(f"{n} museum", "museum") for n in ("music", *"abcdef")]
    reserved = [f"{n} music" for n in ("music", *"abcdef")]
    allowed = [text for text in _hear(sentences, reserved=reserved) if text]
    assert not set(allowed) & set(reserved)
    assert set(_hear(sentences, kept_out=["music"])) == {None}


def test_the_grammar_promises_hold_for_what_is_heard() -> None:
    grammar = Grammar()
    splits = make_splits(
        grammar, seed=1, num_text=2500, num_train=800, num_sft=50, num_dev=50, num_test=100
    )
    held = [value for slots in grammar.slots.values() for value in slots.held]
    reserved = {s.text for s in [*splits.text, *splits.dev, *splits.test]}
    heard = _hear(splits.text, kept_out=held, reserved=reserved)
    others = [f" {text} " for text in heard if text]
    assert 0.2 * len(splits.text) < len(others) < 0.4 * len(splits.text)
    assert not any(f" {value} " in text for text in others for value in held)
    assert not {text.strip() for text in others} & reserved
    assert heard == _hear(splits.text, kept_out=held, reserved=reserved)  # the same every time


def test_only_scenario_and_action_are_misheard() -> None:
    utterance = LabelledUtterance(
        "u1", "turn the toaster off", heard="turn the joke off", scenario="iot",
        action="wemo_off", slu_entities=True, extra={"entities": []},
    )  # fmt: skip
    heard = {row["task"]: (row["GT"], row["target"]) for row in utterance.rows()}
    assert heard == {
        "ASR": ("turn the toaster off", "turn the toaster off"),
        "SLU_scenario": ("turn the joke off", "iot"),
        "SLU_action": ("turn the joke off", "wemo_off"),
        "SLU_entities": ("turn the toaster off", utterance.rows()[3]["target"]),
    }
