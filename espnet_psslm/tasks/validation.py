"""What validation hears: speech, or posteriors simulated from text.

The best checkpoint and early stopping go by token accuracy on the validation data. Where these
have dumped Steps or audio, the choice knows real speech; where they are text only it is blind.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.iterators.sequence_iter_factory import RawSampler, SequenceIterFactory

REAL, SIMULATED = "real", "simulated"


def kinds_of_validation(
    factory: SequenceIterFactory, source_of: Callable[[Any], str]
) -> dict[str, str]:
    """Tell real samples from simulated ones, and say which there are.

    Args:
        factory: of the validation batches.
        source_of: a manifest row's ``audio``, ``steps`` or ``text``.

    Returns:
        Key -> ``real`` or ``simulated``.
    """
    rows = factory.dataset.loader_dict["sample"]
    keys = [key for batch in factory.sampler.generate(0) for key in batch]
    kinds = {key: SIMULATED if source_of(rows[key]) == "text" else REAL for key in keys}
    counts = Counter(kinds.values())
    if not counts[REAL]:
        logging.warning(
            "the best checkpoint is chosen blindly: all %d validation samples are simulated from "
            "text; dumped Steps of spoken ones would show how speech is understood",
            counts[SIMULATED],
        )
    else:
        logging.info(
            "the best checkpoint is chosen on %d validation samples of real speech and %d "
            "simulated ones",
            counts[REAL],
            counts[SIMULATED],
        )
    return kinds


class ByKind(AbsIterFactory):
    """Validation batches of one kind each, so that accuracies are reported apart.

    Args:
        factory: ESPnet's; its batches are split here.
        kinds: key -> kind.
    """

    def __init__(self, factory: SequenceIterFactory, kinds: dict[str, str]) -> None:
        self.factory = factory
        self.kinds = kinds
        parts = (
            [key for key in batch if kinds[key] == kind]
            for batch in factory.sampler.generate(0)
            for kind in (REAL, SIMULATED)
        )
        factory.sampler = RawSampler([part for part in parts if part])

    def build_iter(
        self, epoch: int, shuffle: bool | None = None
    ) -> Iterator[tuple[list[str], dict[str, Any]]]:
        """Keys and batches, which know their kind."""
        for keys, batch in self.factory.build_iter(epoch, shuffle):
            yield keys, batch | {"kind": self.kinds[keys[0]]}
