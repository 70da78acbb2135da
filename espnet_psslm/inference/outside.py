"""Whether a recording is outside of what a model knows.

A model of few words answers everything with them, also what it has never learnt. Two things give
such recordings away: how clearly the acoustic model heard them, and how many of the transcript's
pairs of neighbouring words the training text has (words that were forced upon other speech stand in
any order). Development speech shows what both are like where the model is at home; a share of it,
e.g. 2 %, may be called outside. A user's sentences hold words that training lacks more often than
development sentences do, which are of one corpus with it: so each of these is judged as if one of
its words were new.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import yaml

from espnet_psslm.atomic import atomic_file
from espnet_psslm.common.yaml_file import read_yaml
from espnet_psslm.llm.answers import Hypothesis
from espnet_psslm.text.normalize import normalize_text
from espnet_psslm.text.words import spell_words

TASK = "ASR"  # whose answers are judged: a label is likely whatever was said
FEWEST = 50  # utterances; of fewer, the least familiar say nothing about others
MAX_PAIRS = 50_000  # of words, 1 MB; a larger text is of no small domain
START, END = "<s>", "</s>"  # neighbours of a sentence's first and last word


def word_pairs(text: str) -> list[str]:
    """Pairs of neighbouring words, a sentence's ends included: ``["<s> stop", "stop </s>"]``."""
    words = [START, *spell_words(normalize_text(text)), END]
    return [f"{first} {second}" for first, second in zip(words, words[1:], strict=False)]


def confidence(*, heard: float, known: float) -> float:
    """How much a recording is like those that the model was trained on, in [0, 1].

    Args:
        heard: geometric mean over the Steps of the best unit's probability.
        known: share of the transcript's word pairs that the training text has.
    """
    return math.sqrt(heard * known)


@dataclass(frozen=True)
class Familiarity:
    """What a model calls outside, and from what that was calibrated.

    Args:
        threshold: a recording of lower confidence is outside; in [0, 1].
        share: of the development utterances, at most so many are.
        num_utts: development utterances.
        pairs: word pairs of the training text.

    Raises:
        ValueError: if a number has no sense.
    """

    threshold: float
    share: float
    num_utts: int
    pairs: frozenset[str]

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold ({self.threshold}) must lie in [0, 1]")
        check_share(self.share)

    def is_outside(self, confidence: float) -> bool:
        """Whether a recording of such a confidence is outside."""
        return confidence < self.threshold

    def judge(self, answers: Sequence[Hypothesis], transcript: Hypothesis) -> list[Hypothesis]:
        """The same answers, which say whether their recording is outside.

        Args:
            answers: to a recording, of any task.
            transcript: the best answer to the task ASR of the same recording.
        """
        found = transcript_confidence(transcript, self.pairs)
        if found is None:
            return list(answers)
        outside = self.is_outside(found)
        return [replace(answer, confidence=found, outside=outside) for answer in answers]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read what ``write`` has written.

        Raises:
            ValueError: if there is no such file, or it holds something else.
        """
        again = "bin/calibrate makes such a file"
        if not Path(path).is_file():
            raise ValueError(f"{path}: no such file; {again}")
        try:
            content = read_yaml(path)
            return cls(
                threshold=float(content["threshold"]),
                share=float(content["share"]),
                num_utts=int(content["num_utts"]),
                pairs=frozenset(content["pairs"]),
            )
        except KeyError as error:
            raise ValueError(f"{path}: lacks {error}; {again}") from error
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{path} says nothing of what is outside ({reason}); {again}"
            ) from error

    def write(self, path: str | Path) -> None:
        """Write a small YAML file, whole or not at all."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as stream:
            content = asdict(self) | {"pairs": sorted(self.pairs)}
            stream.write(yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def check_share(share: float) -> None:
    """Raise ValueError where a share has no sense."""
    if not 0.0 < share < 1.0:
        raise ValueError(f"share ({share}) must lie between 0 and 1, e.g. 0.01 for 1 %")


def check_enough(num_utts: int) -> None:
    """Raise ValueError where utterances are too few to calibrate with."""
    if num_utts < FEWEST:
        raise ValueError(
            f"{num_utts} utterances of development speech with task {TASK}: at least {FEWEST} are "
            "needed to tell what is outside; --outside_share 0 packs without this check"
        )


def transcript_confidence(
    transcript: Hypothesis, pairs: frozenset[str], *, new_words: int = 0
) -> float | None:
    """Confidence of the recording that a transcript is of.

    Args:
        transcript: the best answer to the task ASR.
        pairs: word pairs of the training text.
        new_words: so many words are taken for new, with the pairs on either side of each.

    Returns:
        None where the Steps are no posteriors: nothing is known then. 1 where there is no step:
        silence has its own answer, which is empty.
    """
    if transcript.heard is None:
        return None
    if not transcript.heard.num_steps:
        return 1.0
    said = word_pairs(transcript.text)
    known = max(0, sum(pair in pairs for pair in said) - 2 * new_words)
    return confidence(heard=transcript.heard.probability, known=known / len(said))


def pairs_of(sentences: Iterable[str]) -> frozenset[str]:
    """Word pairs of a training text.

    Raises:
        ValueError: if there are too many: every recording would be familiar.
    """
    pairs = frozenset(pair for sentence in sentences for pair in word_pairs(sentence))
    if len(pairs) > MAX_PAIRS:
        raise ValueError(
            f"the training text has {len(pairs)} different pairs of words, more than {MAX_PAIRS}: "
            "what is outside can be told of a small domain only; set --outside_share 0"
        )
    return pairs


def calibrate(
    transcripts: Sequence[Hypothesis], *, pairs: frozenset[str], share: float
) -> Familiarity:
    """Place the threshold: at most a share of development speech, each with a new word, is outside.

    Args:
        transcripts: of the development utterances.
        pairs: word pairs of the training text.
        share: of the utterances that may be called outside, in (0, 1).

    Raises:
        ValueError: if there are fewer than 50, the share has no sense, or Steps are no posteriors.
    """
    check_share(share)
    check_enough(len(transcripts))
    found = [transcript_confidence(transcript, pairs, new_words=1) for transcript in transcripts]
    if None in found:
        raise ValueError(
            "the development speech was dumped as encoder outputs (step_kind: feature), which do "
            "not say how clearly they were heard: such a model has no check of what is outside"
        )
    threshold = sorted(found)[int(share * len(found))]  # so many lie below it
    return Familiarity(threshold=threshold, share=share, num_utts=len(found), pairs=pairs)
