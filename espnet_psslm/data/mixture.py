"""Batches that mix text-only samples with samples of audio or dumped Steps at a given share.

Fine-tuning on a little audio forgets what text taught; text in the same batches reminds of it
(arXiv 2511.03310 trains on both). ESPnet makes batches of neighbours in length; here each of them
keeps its size, and its samples are drawn anew in every epoch from both kinds:

- the share is exact over the batches seen so far, whatever their sizes;
- the scarcer kind comes several times an epoch, the other not with all of its samples;
- no batch holds a sample twice, and batches stay neighbours in length.
"""

from collections.abc import Callable, Sequence

import numpy as np
from espnet2.samplers.abs_sampler import AbsSampler

Batches = Sequence[Sequence[str]]


class MixedSampler(AbsSampler):
    """Batches of two kinds.

    Args:
        batches: keys of all samples, neighbours in length together, each sample once.
        is_audio: tells samples with audio or dumped Steps from text-only ones.
        audio_share: of the samples in each batch, in (0, 1).

    Raises:
        ValueError: if the share is no such number, or one kind has too few samples for a batch.
    """

    def __init__(
        self, batches: Batches, *, is_audio: Callable[[str], bool], audio_share: float
    ) -> None:
        if not 0.0 < audio_share < 1.0:
            raise ValueError(f"audio_share ({audio_share}) must lie between 0 and 1")
        keys = [key for batch in batches for key in batch]
        self.audio = [key for key in keys if is_audio(key)]
        self.text = [key for key in keys if not is_audio(key)]
        ends = np.cumsum([0, *(len(batch) for batch in batches)])
        self.num_audio = np.diff(np.floor(audio_share * ends + 0.5).astype(int))
        self.num_text = np.diff(ends) - self.num_audio
        for kind, keys, needed in (
            ("audio or dumped steps", self.audio, self.num_audio),
            ("text alone", self.text, self.num_text),
        ):
            if len(keys) < needed.max():
                raise ValueError(
                    f"audio_share {audio_share} puts {needed.max()} samples with {kind} into a "
                    f"batch, the training data have {len(keys)}: add some, or change audio_share "
                    "or batch_size"
                )

    def __len__(self) -> int:
        return len(self.num_audio)

    def __iter__(self) -> object:
        return iter(self.generate(0))

    def generate(self, seed: int) -> list[list[str]]:
        """The batches of one epoch.

        Args:
            seed: ESPnet gives the training's plus the epoch.
        """
        rng = np.random.default_rng([seed, 1])
        kinds = (self.audio, self.num_audio), (self.text, self.num_text)
        sides = [_deal(keys, needed, rng) for keys, needed in kinds]
        return [audio + text for audio, text in zip(*sides, strict=True)]


def _deal(keys: Sequence[str], needed: np.ndarray, rng: np.random.Generator) -> list[list[str]]:
    """Keys for each batch, in the order of ``keys``.

    Every P-th batch, from the shortest to the longest, is served by one pass over the keys, so
    that P passes serve all: a pass holds no key twice, hence no batch does.
    """
    passes = max(1, -(-int(needed.sum()) // max(1, len(keys))))
    while max(needed[first::passes].sum() for first in range(passes)) > len(keys):
        passes += max(1, passes // 10)
    dealt: list[list[str]] = [[] for _ in needed]
    for first in range(passes):
        served = range(first, len(needed), passes)
        total = int(needed[first::passes].sum())
        chosen = iter(np.sort(rng.choice(len(keys), total, replace=False)))
        for batch in served:
            dealt[batch] = [keys[next(chosen)] for _ in range(needed[batch])]
    return dealt
