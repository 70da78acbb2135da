"""What speech does that the grammar does not: unknown words, and unknown combinations of words.

CTC hears words that it knows in place of a word that it was never trained on.

The spoken training set has every word of the training text, so that no measured statistics know
this error; test has words of its own. A language model trained without it believes the words:
"turn off the joke" (it was a toaster) asks for a joke then. In a share of the training text's
samples of scenario and action a word is therefore replaced by known words, or left out; the label
stays, and the model learns to trust the whole wording more than any one word.

Transcripts (task ASR) are asked back as they are heard, but in half of them words were replaced, by
any others: who has only seen sentences of the grammar writes those, whatever is said ("fifty
percent" for "fifty five percent").
"""

import random
from collections.abc import Iterable
from difflib import SequenceMatcher

from grammar import Sentence

MISHEARD_SHARE = 0.3  # of the sentences
MIN_LETTERS = 4  # of a word outside a slot: short ones such as "off" decide, and are well known
HEARD_AS = {0: 0.15, 1: 0.6, 2: 0.25}  # words -> share; "museum" is heard as "music dim"
NUM_CANDIDATES = 8  # drawn for a word; the one that is spelled most alike is heard
VARIED_SHARE = 0.5  # of the transcripts
VARIED_WORDS = (1, 2)  # how many of their words are others


class Mishearing:
    """Replaces words by words of the training text.

    Args:
        sentences: the training text.
        kept_out: phrases that must not come out: values held out for test.
        reserved: sentences that must not come out: those of any split, which have labels of
            their own.
        seed: of all draws.
    """

    def __init__(
        self,
        sentences: Iterable[Sentence],
        *,
        kept_out: Iterable[str],
        reserved: Iterable[str],
        seed: int,
    ) -> None:
        self.words = sorted({word for sentence in sentences for word in sentence.text.split()})
        self.kept_out = [f" {phrase} " for phrase in kept_out]
        self.reserved = set(reserved)
        self.seed = seed

    def vary(self, sentence: Sentence) -> str | None:
        """A sentence that the grammar does not make.

        Args:
            sentence: of the grammar.

        Returns:
            It with one or two other words, or None where it stays as it is.
        """
        rng = random.Random(f"varied-{self.seed}-{sentence.text}")
        if rng.random() >= VARIED_SHARE:
            return None
        words = sentence.text.split()
        for index in rng.sample(range(len(words)), min(rng.choice(VARIED_WORDS), len(words))):
            words[index] = rng.choice(self.words)
        return self._allowed(words)

    def __call__(self, sentence: Sentence) -> str | None:
        """What is heard of a sentence whose labels are asked for.

        Args:
            sentence: what is said.

        Returns:
            Another text, or None where it is heard as it is said.
        """
        rng = random.Random(f"misheard-{self.seed}-{sentence.text}")
        words = sentence.text.split()
        in_slots = {word for _, filler in sentence.entities for word in filler.split()}
        # Most words that training lacks are in slots: those have two chances.
        places = [
            index
            for index, word in enumerate(words)
            for _ in range((len(word) >= MIN_LETTERS) + (word in in_slots))
        ]
        if not places or rng.random() >= MISHEARD_SHARE:
            return None
        index = rng.choice(places)
        (count,) = rng.choices(list(HEARD_AS), list(HEARD_AS.values()))
        words[index : index + 1] = [self._alike(words[index], rng) for _ in range(count)]
        return self._allowed(words)

    def _allowed(self, words: list[str]) -> str | None:
        text = " ".join(words)
        if text in self.reserved or any(phrase in f" {text} " for phrase in self.kept_out):
            return None
        return text

    def _alike(self, said: str, rng: random.Random) -> str:
        """A known word, of a few the one that is spelled most like the word said."""
        others = [word for word in self.words if word != said]
        candidates = rng.sample(others, min(NUM_CANDIDATES, len(others)))
        return max(candidates, key=lambda word: SequenceMatcher(None, said, word).ratio())
