from collections import Counter
from dataclasses import replace

import pytest
from corpus import Splits, check_splits, choose_by_words, held_values, make_splits
from grammar import Grammar, Sentence

SIZES = {"num_text": 6000, "num_train": 1500, "num_sft": 200, "num_dev": 150, "num_test": 340}


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar()


@pytest.fixture(scope="module")
def splits(grammar: Grammar) -> Splits:
    return make_splits(grammar, seed=1, **SIZES)


def test_full_size_keeps_its_promises(splits: Splits, grammar: Grammar) -> None:
    check_splits(splits, grammar)
    assert [len(s) for s in (splits.text, splits.train, splits.sft, splits.dev, splits.test)] == [
        *SIZES.values()
    ]
    assert len({s.text for s in splits.text}) == SIZES["num_text"] >= 3000
    assert len(splits.test) >= 300
    assert sum(len(s.text.split()) for s in splits.test) >= 2000
    unseen = [s for s in splits.test if not s.seen_template]
    assert len(unseen) >= 0.2 * len(splits.test)
    assert not {s.template for s in unseen} & {s.template for s in splits.text}
    assert all(len(values) >= 5 for values in held_values(splits.test, grammar).values())


def test_splits_share_no_sentence(splits: Splits) -> None:
    text = {s.text for s in splits.text}
    dev, test = {s.text for s in splits.dev}, {s.text for s in splits.test}
    assert not text & dev and not text & test and not dev & test
    assert not {s.text for s in splits.train} & {s.text for s in splits.sft}
    assert {s.text for s in [*splits.train, *splits.sft]} <= text


def test_held_out_values_are_in_test_only(splits: Splits, grammar: Grammar) -> None:
    known = [f" {s.text} " for s in [*splits.text, *splits.dev]]
    for kind, slots in grammar.slots.items():
        for value in slots.held:
            assert not any(f" {value} " in text for text in known), (kind, value)


def test_intents_are_balanced(splits: Splits) -> None:
    assert len({(s.scenario, s.action) for s in splits.train}) == 43
    for sentences in (splits.sft, splits.test):
        counts = Counter((s.scenario, s.action) for s in sentences)
        assert len(counts) == 43
        assert max(counts.values()) <= 2 * min(counts.values())


def test_spoken_words_are_balanced(splits: Splits) -> None:
    def rarest(sentences: list[Sentence]) -> int:
        counts = Counter(word for s in sentences for word in s.text.split())
        return sorted(counts.values())[len(counts) // 10]  # a tenth of the words come less often

    assert rarest(splits.train) > 1.3 * rarest(splits.text[: len(splits.train)])


def test_choice_by_words_equals_a_full_search(splits: Splits) -> None:
    sentences = [s for s in splits.text if s.scenario in ("alarm", "iot")][:150]
    num_chosen = 120
    templates = [s.template for s in sentences]
    chosen = sorted({*range(num_chosen // 2), *map(templates.index, templates)})
    assert num_chosen // 2 < len(chosen) < num_chosen
    while len(chosen) < num_chosen:
        counts = Counter(word for i in chosen for word in sentences[i].text.split())

        def worth(index: int, counts: Counter[str] = counts) -> float:
            words = sentences[index].text.split()
            return sum((1 + counts[word]) ** -2 for word in words) / len(words)

        rest = [index for index in range(len(sentences)) if index not in chosen]
        chosen.append(max(rest, key=lambda index: (worth(index), -index)))
    assert choose_by_words(sentences, num_chosen) == [sentences[i] for i in sorted(chosen)]


def test_seed_decides(splits: Splits, grammar: Grammar) -> None:
    assert make_splits(grammar, seed=1, **SIZES) == splits
    other = make_splits(grammar, seed=2, **SIZES)
    check_splits(other, grammar)
    assert [s.text for s in other.test] != [s.text for s in splits.test]


def test_reduced_size(grammar: Grammar) -> None:
    splits = make_splits(
        grammar, seed=1, num_text=200, num_train=60, num_sft=20, num_dev=10, num_test=20
    )
    check_splits(splits, grammar)
    assert sum(not s.seen_template for s in splits.test) == 5


def _put(splits: Splits, where: str, what: object) -> Splits:
    return replace(splits, **{where: [*getattr(splits, where), what]})


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda s: _put(s, "text", s.test[0]), "text and test share 1 sentences"),
        (lambda s: _put(s, "dev", s.test[0]), "dev and test share 1 sentences"),
        (lambda s: _put(s, "sft", s.train[0]), "train and sft share 1 sentences"),
        (
            lambda s: _put(s, "text", replace(s.text[0], scenario="weather")),
            "change a template so that the wording decides",
        ),
        (
            lambda s: _put(s, "text", replace(s.text[0], text="find a podcast about nature")),
            "held-out podcast_descriptor 'nature' occurs in training",
        ),
        (
            lambda s: _put(
                s, "text", replace(next(t for t in s.test if not t.seen_template), text="x y z")
            ),
            "are called unseen but are in training",
        ),
        (
            lambda s: replace(s, test=[t for t in s.test if t.seen_template] * 2),
            "0.0% of test is from unseen templates",
        ),
        (
            lambda s: replace(s, test=[replace(t, entities=()) for t in s.test]),
            "test has 0 held-out values",
        ),
        (
            lambda s: replace(s, test=[replace(t, text=f"a {i}") for i, t in enumerate(s.test)]),
            "test has 680 words",
        ),
        (lambda s: replace(s, text=s.text[:1900]), "1900 sentences, needs 3000"),
        (lambda s: replace(s, train=s.train[:40]), "are called seen, not in training"),
    ],
)
def test_broken_promises_stop(broken, message: str, splits: Splits, grammar: Grammar) -> None:
    with pytest.raises(ValueError, match=message):
        check_splits(broken(splits), grammar)


def test_sizes_that_do_not_fit(grammar: Grammar) -> None:
    sizes = {**SIZES, "num_text": 1600}
    with pytest.raises(ValueError, match="--num_text 1600 is less than --num_train 1500"):
        make_splits(grammar, seed=1, **sizes)


def test_more_than_the_grammar_gives() -> None:
    grammar = Grammar()
    grammar.templates = [t for t in grammar.templates if t.scenario == "general"]
    with pytest.raises(ValueError, match="no seen sentence that is new"):
        make_splits(grammar, seed=1, **{**SIZES, "num_test": 0})
