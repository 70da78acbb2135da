"""Draw the sentences of the mini recipe's splits, and check what the splits promise.

Test is drawn first, then dev, then the training text: small templates are not used up before the
evaluation sets are filled. Test holds every held-out slot value and a share of sentences from
templates that training never sees.
"""

import heapq
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from grammar import Grammar, Sentence, Template

UNSEEN_TEMPLATE_SHARE = 0.25  # of the test utterances
HELD_OUT_SHARE = 0.3  # of the test utterances hold a held-out value
FULL_TEST_SIZE = 300  # utterances from which on the promises about held-out parts are checked
MIN_TEST_WORDS = 2000
MIN_UNSEEN_SHARE = 0.2
MIN_HELD_VALUES = 5  # per slot kind
MIN_TEXT_SENTENCES = 3000
MIN_SCENARIOS, MIN_ACTIONS = 12, 25


@dataclass(frozen=True)
class Splits:
    """Sentences of each split."""

    text: list[Sentence]  # training text of the bridge; holds train and sft
    train: list[Sentence]  # spoken, for CTC
    sft: list[Sentence]  # spoken, for fine-tuning the bridge; not in train
    dev: list[Sentence]
    test: list[Sentence]


class Sampler:
    """Draws sentences so that intents, and templates within an intent, come equally often.

    Args:
        grammar: what to draw from.
        rng: source of randomness.
        taken: texts that must not be drawn; grows.
    """

    def __init__(self, grammar: Grammar, rng: random.Random, taken: set[str]) -> None:
        self._grammar = grammar
        self._rng = rng
        self._taken = taken
        self._intents: Counter[tuple[str, str]] = Counter()
        self._templates: Counter[str] = Counter()
        self._used_up: set[str] = set()

    def draw(self, *, seen: bool, held: tuple[str, str] | None = None) -> Sentence:
        """Draw one sentence from the least used intent and template that can give one.

        Args:
            seen: from templates of training.
            held: (kind, value) that must occur.

        Returns:
            The sentence.

        Raises:
            ValueError: if no template gives a new sentence.
        """
        candidates = [
            template
            for template in self._grammar.templates
            if template.seen == seen
            and (held is None or held[0] in template.kinds)
            and template.name not in self._used_up
        ]
        self._rng.shuffle(candidates)
        candidates.sort(key=self._usage)
        for template in candidates:
            sentence = self._grammar.sample(template, self._rng, taken=self._taken, held=held)
            if sentence is not None:
                self._taken.add(sentence.text)
                self._intents[template.scenario, template.action] += 1
                self._templates[template.name] += 1
                return sentence
            if held is None:
                self._used_up.add(template.name)
        what = f"with {held[0]} {held[1]!r}" if held else "that is new"
        raise ValueError(
            f"the grammar gives no {'seen' if seen else 'unseen'} sentence {what}; "
            "ask for fewer sentences (--num_text) or add templates"
        )

    def _usage(self, template: Template) -> tuple[int, int]:
        return self._intents[template.scenario, template.action], self._templates[template.name]


def make_splits(
    grammar: Grammar,
    *,
    seed: int,
    num_text: int,
    num_train: int,
    num_sft: int,
    num_dev: int,
    num_test: int,
    reserved: Iterable[str] = (),
) -> Splits:
    """Draw all splits.

    Args:
        grammar: what to draw from.
        seed: of all randomness.
        num_text: sentences of the training text, train and sft included.
        num_train: spoken training sentences.
        num_sft: spoken sentences for fine-tuning.
        num_dev: spoken development sentences.
        num_test: spoken test sentences.
        reserved: sentences that must be in no split (the prompts show them).

    Returns:
        The splits.

    Raises:
        ValueError: if the sizes do not fit together.
    """
    if num_text < num_train + num_sft:
        raise ValueError(
            f"--num_text {num_text} is less than --num_train {num_train} + --num_sft {num_sft}: "
            "the training text holds the spoken sentences too"
        )
    rng = random.Random(f"sentences-{seed}")
    taken = set(reserved)
    test = _draw_test(grammar, rng, taken, num_test)
    sampler = Sampler(grammar, rng, taken)
    dev = [sampler.draw(seen=True) for _ in range(num_dev)]
    sampler = Sampler(grammar, rng, taken)
    text = [sampler.draw(seen=True) for _ in range(num_text)]
    # The sampler goes round the intents, so a prefix is as balanced as the whole.
    train = choose_by_words(text[num_sft:], num_train)
    return Splits(text=text, train=train, sft=text[:num_sft], dev=dev, test=test)


def choose_by_words(sentences: Sequence[Sentence], num_chosen: int) -> list[Sentence]:
    """Choose sentences to speak: half as they come, every template, the rest for rare words.

    The first half is balanced over intents and templates; of a template that it misses, the first
    sentence comes too. Then greedy: next comes the sentence with the largest mean of
    1 / (1 + times spoken)^2 over its words. What a sentence is worth only falls, so a heap whose
    top is brought up to date gives the same choice as a full search.

    Args:
        sentences: to choose from, intents and templates in turn.
        num_chosen: how many.

    Returns:
        The sentences chosen, in the order of ``sentences``.
    """
    first_of: dict[str, int] = {}
    for index, sentence in enumerate(sentences):
        first_of.setdefault(sentence.template, index)
    chosen = sorted({*range(num_chosen // 2), *first_of.values()})[:num_chosen]
    counts = Counter(word for index in chosen for word in sentences[index].text.split())

    def worth(index: int) -> float:
        words = sentences[index].text.split()
        return sum((1 + counts[word]) ** -2 for word in words) / len(words)

    taken = set(chosen)
    heap = [(-worth(index), index) for index in range(len(sentences)) if index not in taken]
    heapq.heapify(heap)
    while heap and len(chosen) < num_chosen:
        _, index = heapq.heappop(heap)
        value = -worth(index)
        if heap and value > heap[0][0]:
            heapq.heappush(heap, (value, index))
            continue
        chosen.append(index)
        counts.update(sentences[index].text.split())
    return [sentences[index] for index in sorted(chosen)]


def _draw_test(
    grammar: Grammar, rng: random.Random, taken: set[str], num_test: int
) -> list[Sentence]:
    """Held-out values in turn, as far as their share goes; the rest with known values."""
    values = [(kind, value) for kind, slots in grammar.slots.items() for value in slots.held]
    rng.shuffle(values)
    num_held = round(HELD_OUT_SHARE * num_test)
    held: list[tuple[str, str] | None] = list(islice(cycle(values), num_held))
    held += [None] * (num_test - num_held)
    num_unseen = round(UNSEEN_TEMPLATE_SHARE * num_test)
    seen = [False] * num_unseen + [True] * (num_test - num_unseen)
    rng.shuffle(seen)
    sampler = Sampler(grammar, rng, taken)
    return [sampler.draw(seen=s, held=h) for s, h in zip(seen, held, strict=True)]


def check_splits(splits: Splits, grammar: Grammar) -> None:
    """Check what the splits promise, so that no change of the grammar can break it unseen.

    Sizes are only asked for from ``FULL_TEST_SIZE`` test utterances on: reduced runs have less.

    Args:
        splits: the sentences.
        grammar: where they come from.

    Raises:
        ValueError: at the first promise that is broken.
    """
    _check_disjoint(splits)
    _check_labels([*splits.text, *splits.dev, *splits.test])
    known = [*splits.text, *splits.dev]
    _check_held_out(known, grammar)
    unseen = {s.template for s in splits.test if not s.seen_template}
    leaked = unseen & {s.template for s in known}
    if leaked:
        raise ValueError(f"templates {sorted(leaked)} are called unseen but are in training")
    if len(splits.test) >= FULL_TEST_SIZE:
        _check_sizes(splits, grammar)


def _check_disjoint(splits: Splits) -> None:
    sets = {
        name: {s.text for s in getattr(splits, name)} for name in ("train", "sft", "dev", "test")
    }
    sets["text"] = {s.text for s in splits.text}
    for one, two in (
        ("train", "sft"),
        ("text", "dev"),
        ("text", "test"),
        ("dev", "test"),
        ("train", "dev"),
        ("train", "test"),
    ):
        common = sets[one] & sets[two]
        if common:
            raise ValueError(f"{one} and {two} share {len(common)} sentences: {min(common)!r}")


def _check_labels(sentences: Iterable[Sentence]) -> None:
    label_of: dict[str, tuple[str, str]] = {}
    for sentence in sentences:
        label = (sentence.scenario, sentence.action)
        if label_of.setdefault(sentence.text, label) != label:
            raise ValueError(
                f"{sentence.text!r} is both {label_of[sentence.text]} and {label}: "
                "change a template so that the wording decides"
            )


def _check_held_out(known: Sequence[Sentence], grammar: Grammar) -> None:
    """No held-out value is a run of words of any sentence outside test."""
    # One long string with bars between sentences: a plain search is faster than word lists.
    haystack = "|".join(f" {s.text} " for s in known)
    for kind, slots in grammar.slots.items():
        for value in slots.held:
            if f" {value} " in haystack:
                raise ValueError(
                    f"held-out {kind} {value!r} occurs in training or dev: "
                    "choose another value in grammar/slots.txt"
                )


def _check_sizes(splits: Splits, grammar: Grammar) -> None:
    num_words = sum(len(s.text.split()) for s in splits.test)
    share = sum(not s.seen_template for s in splits.test) / len(splits.test)
    held = held_values(splits.test, grammar)
    fewest = min(held, key=lambda kind: len(held[kind]))
    trained = {s.template for s in splits.train}
    untrained = {s.template for s in splits.test if s.seen_template} - trained
    known = splits.text
    for broken, message in (
        (num_words < MIN_TEST_WORDS, f"test has {num_words} words, needs {MIN_TEST_WORDS}"),
        (share < MIN_UNSEEN_SHARE, f"{share:.1%} of test is from unseen templates, needs 20 %"),
        (
            len(held[fewest]) < MIN_HELD_VALUES,
            f"test has {len(held[fewest])} held-out values of {fewest}, needs {MIN_HELD_VALUES}",
        ),
        (bool(untrained), f"templates {sorted(untrained)[:3]} are called seen, not in training"),
        (
            len({s.text for s in known}) < MIN_TEXT_SENTENCES,
            f"the training text has {len(known)} sentences, needs {MIN_TEXT_SENTENCES}",
        ),
        (
            len({s.scenario for s in known}) < MIN_SCENARIOS,
            f"fewer than {MIN_SCENARIOS} scenarios",
        ),
        (len({s.action for s in known}) < MIN_ACTIONS, f"fewer than {MIN_ACTIONS} actions"),
    ):
        if broken:
            raise ValueError(f"{message}: raise the sizes or extend the grammar")


def held_values(sentences: Iterable[Sentence], grammar: Grammar) -> dict[str, set[str]]:
    """Held-out values that occur.

    Args:
        sentences: where to look.
        grammar: says which values are held out.

    Returns:
        Values by slot kind; every kind is there.
    """
    found: dict[str, set[str]] = {kind: set() for kind in grammar.slots}
    for sentence in sentences:
        for kind, filler in sentence.entities:
            if filler in grammar.slots[kind].held:
                found[kind].add(filler)
    return found
