import random
from collections import defaultdict
from pathlib import Path

import pytest
from grammar import Choice, Grammar, Slot, parse_template, read_slots, read_templates

from espnet_psslm.text.normalize import normalize_text

SLURP_SCENARIOS = set(
    "email play calendar general iot audio takeaway news qa weather datetime alarm cooking "
    "recommendation transport social music lists".split()
)
POLITE_WORDS = {"please", "can", "could", "would", "you"}


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar()


def test_size(grammar: Grammar) -> None:
    scenarios = {scenario for scenario, _ in grammar.intents}
    assert len(scenarios) >= 12 and scenarios <= SLURP_SCENARIOS
    assert len({action for _, action in grammar.intents}) >= 25
    assert sum(grammar.count(t) for t in grammar.templates if t.seen) > 30000


def test_every_intent_has_seen_and_unseen_templates(grammar: Grammar) -> None:
    for intent in grammar.intents:
        groups = [t.seen for t in grammar.templates if (t.scenario, t.action) == intent]
        assert groups.count(True) >= 4 and groups.count(False) >= 2, intent


def test_every_slot_kind_has_held_out_values(grammar: Grammar) -> None:
    used = set().union(*(t.kinds for t in grammar.templates))
    assert used == set(grammar.slots)
    for kind, values in grammar.slots.items():
        assert len(values.held) >= 5, kind
        assert len(values.train) >= 8, kind


def test_values_are_normalised(grammar: Grammar) -> None:
    for values in grammar.slots.values():
        for value in [*values.train, *values.held]:
            assert normalize_text(value) == value


def test_sentences_are_normalised_and_no_label_is_ambiguous(grammar: Grammar) -> None:
    rng = random.Random(3)
    label_of: dict[str, tuple[str, str]] = {}
    for template in grammar.templates:
        for _ in range(60):
            sentence = grammar.sample(template, rng, taken=set())
            assert sentence is not None
            assert normalize_text(sentence.text) == sentence.text
            assert 3 <= len(sentence.text.split()) <= 12
            for kind, filler in sentence.entities:
                assert filler in grammar.slots[kind].train
                assert f" {filler} " in f" {sentence.text} "
            label = (sentence.scenario, sentence.action)
            assert label_of.setdefault(sentence.text, label) == label


def test_scenarios_share_verbs(grammar: Grammar) -> None:
    rng = random.Random(4)
    scenarios: dict[str, set[str]] = defaultdict(set)
    for template in grammar.templates:
        for _ in range(20):
            sentence = grammar.sample(template, rng, taken=set())
            assert sentence is not None
            words = [word for word in sentence.text.split() if word not in POLITE_WORDS]
            scenarios[words[0]].add(template.scenario)
    for verb in ("set", "turn", "start", "remove", "order", "add", "show", "what", "make"):
        assert len(scenarios[verb]) >= 2, verb
    sharing = [verb for verb, names in scenarios.items() if len(names) >= 3]
    assert len(sharing) >= 3


def test_held_out_value_is_forced(grammar: Grammar) -> None:
    template = next(t for t in grammar.templates if t.name == "play_podcasts-seen0")
    sentence = grammar.sample(
        template, random.Random(0), taken=set(), held=("podcast_descriptor", "nature")
    )
    assert sentence is not None
    assert (
        "podcast_descriptor",
        "nature",
    ) in sentence.entities and "nature" in sentence.text.split()


def test_same_kind_twice_gives_two_values(grammar: Grammar) -> None:
    template = next(t for t in grammar.templates if t.name == "datetime_convert-seen2")
    for seed in range(30):
        sentence = grammar.sample(template, random.Random(seed), taken=set())
        assert sentence is not None
        assert len(set(sentence.entities)) == len(sentence.entities) == 2


def test_used_up_template_gives_none(grammar: Grammar) -> None:
    template = next(t for t in grammar.templates if t.name == "lists_query-seen1")
    taken: set[str] = set()
    rng = random.Random(0)
    for _ in range(500):
        sentence = grammar.sample(template, rng, taken=taken)
        if sentence is None:
            break
        assert sentence.text not in taken
        taken.add(sentence.text)
    assert sentence is None and len(taken) >= grammar.count(template)


def test_notation() -> None:
    nodes = parse_template("a (b|{time} c|)(d (e|f)|g)")
    assert nodes[0] == "a "
    assert nodes[1] == Choice((("b",), (Slot("time"), " c"), ()))
    assert nodes[2] == Choice((("d ", Choice((("e",), ("f",)))), ("g",)))


@pytest.mark.parametrize("body", ["a (b", "a b)", "a|b", "{time", "a } b", "{Time}"])
def test_broken_notation(body: str) -> None:
    with pytest.raises(ValueError):
        parse_template(body)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seen: a b c\n", ":1: .* before any"),
        ("[alarm set]\nnever: a b\n", ":2: .*seen"),
        ("[alarm]\nseen: a b\n", ":2: .*scenario action"),
        ("[alarm set]\nseen: a {tim}\n", r":2: unknown slot kinds \['tim'\]"),
        ("[alarm set]\nseen: a (b\n", r":2: .*'\(' without"),
    ],
)
def test_broken_template_file(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "templates.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_templates(tmp_path / "templates.txt", kinds={"time"})


def test_value_twice(tmp_path: Path) -> None:
    (tmp_path / "slots.txt").write_text("[time]\nnoon\nheld: noon\n")
    with pytest.raises(ValueError, match=":3: 'noon' is in .* twice"):
        read_slots(tmp_path / "slots.txt")
