"""How Steps were made: every dump says it, and what reads one compares it with its own.

A bridge that has learnt from Steps of one reduction stumbles over those of another, and nothing
would say so. What is compared is flat: ``step_kind``, ``reduction`` with its options by their own
names, and ``units``, a mark of the vocabulary. What is not known is left out.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence

from torch import Tensor

from espnet_psslm.bridge.phone_sync import Reduction
from espnet_psslm.bridge.steps_file import read_made, read_sample, read_steps

Made = Mapping[str, str | int | float]


class OtherSteps(ValueError):
    """Steps were made otherwise than their reader needs; a fault of all of them, not of a row."""


def how_made(step_kind: str, reduction: Reduction, tokens: Sequence[str] | None) -> Made:
    """What is recorded of Steps.

    Args:
        step_kind: ``posterior`` or ``feature``.
        reduction: what they are made by.
        tokens: the V units; None where they are not known.
    """
    return {"step_kind": step_kind, **reduction.described(), **of_units(tokens)}


def of_units(tokens: Sequence[str] | None) -> Made:
    """The part of the record that a vocabulary is."""
    if tokens is None:
        return {}
    mark = hashlib.sha256(json.dumps(list(tokens)).encode()).hexdigest()[:8]
    return {"units": f"{len(tokens)} ({mark})"}


def check_made(found: Made, own: Made, *, place: str) -> None:
    """Compare two records in what both know.

    Args:
        found: of what is read.
        own: of the one who reads.
        place: what is read, for the message.

    Raises:
        OtherSteps: naming what differs, in one line.
    """
    other = [name for name, value in found.items() if name in own and own[name] != value]
    if other:
        theirs, ours = (", ".join(f"{n} {made[n]}" for n in other) for made in (found, own))
        raise OtherSteps(
            f"{place} was made with {theirs}, here it is {ours}: run stage 8 (dump_steps) again, "
            "and what is behind it, with the bridge's configuration of now, or set what differs "
            "there as it was (run.sh: --reduction, --blank_threshold, --max_units)"
        )


class Dumps:
    """Reads dumped Steps; looks once at each ark, whether they were made as is needed.

    Args:
        made: how they must have been made; what it does not say is as in the first ark.
    """

    def __init__(self, made: Made) -> None:
        self.made = dict(made)
        self.known: set[str] = set()
        self.warned = False

    def read(self, location: str) -> tuple[dict[str, Tensor], Tensor]:
        """The Steps of an utterance, of either kind, and their frames: see ``read_sample``.

        Raises:
            OtherSteps: if its ark was made otherwise.
            ValueError: if it cannot be read.
        """
        found = read_sample(location)
        self._check(location)
        return found

    def read_posteriors(self, location: str) -> tuple[Tensor, Tensor]:
        """Unit ids (U, K) and probabilities (U, K) of an utterance; see ``read``."""
        unit_ids, probs, _ = read_steps(location)
        self._check(location)
        return unit_ids, probs

    def _check(self, location: str) -> None:
        ark, _, _ = location.rpartition(":")
        if ark in self.known:
            return
        found = read_made(ark)
        if found is None and not self.warned:
            logging.warning(
                "%s was dumped by an earlier version, which did not record the reduction: if the "
                "bridge's has changed since, run stage 8 (dump_steps) again",
                ark,
            )
            self.warned = True
        check_made(found or {}, self.made, place=ark)
        self.made = {**(found or {}), **self.made}
        self.known.add(ark)
