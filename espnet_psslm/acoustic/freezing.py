"""Which parameters of a pretrained encoder are fixed, and from which epoch on they are trained."""

import re
from collections.abc import Mapping, Sequence

from torch import nn

Freeze = str | Mapping[str, object]
FRONT = r"conv[12]\."  # Whisper's two convolutions


class FreezePlan:
    """Parameters that are fixed for good, and those that are let go later.

    Args:
        module: the encoder; names below count from it.
        num_layers: its layers, named ``layers.0`` and so on.
        freeze: ``none``; ``encoder``: everything; ``front``: the convolutions;
            ``{first_layers: n}``: these and the n lowest layers; ``{layers: [0, 2]}``: the
            convolutions and these layers; ``{pattern: ...}``: names that begin with a match of
            this regular expression, or of one in a list.
        unfreeze: by epoch (from 2), a regular expression or a list of them: what is trained from
            then on.

    Raises:
        ValueError: if an option is malformed, or a pattern matches nothing that it could freeze or
            let go.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        num_layers: int,
        freeze: Freeze,
        unfreeze: Mapping[int, str | Sequence[str]] | None = None,
    ) -> None:
        # Sinusoids, no weights: never trained, never in question.
        self._parameters = {
            name: parameter
            for name, parameter in module.named_parameters()
            if not name.startswith("embed_positions.")
        }
        module.embed_positions.requires_grad_(False)
        fixed = _matching(_patterns(freeze, num_layers), self._parameters, f"freeze: {freeze!r}")
        self._from_epoch: dict[str, int] = {}
        for epoch, patterns in sorted(_by_epoch(unfreeze or {}).items()):
            rest = [name for name in self._parameters if name in fixed - self._from_epoch.keys()]
            named = f"unfreeze: {epoch}: {patterns!r} (of what is frozen until then)"
            self._from_epoch |= dict.fromkeys(_matching(patterns, rest, named), epoch)
        for name in fixed - self._from_epoch.keys():
            self._parameters[name].requires_grad_(False)

    @property
    def by_epoch(self) -> bool:
        """Whether anything is let go later; until :meth:`set_epoch` it counts as trained."""
        return bool(self._from_epoch)

    def set_epoch(self, epoch: int) -> None:
        """Fix what is let go after ``epoch``, train the rest of what is ever let go."""
        for name, start in self._from_epoch.items():
            self._parameters[name].requires_grad_(start <= epoch)


def is_fixed(module: nn.Module) -> bool:
    """Whether a module has parameters and none of them is trained."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _patterns(freeze: Freeze, num_layers: int) -> list[str]:
    """Regular expressions of what is frozen."""
    known = {"none": [], "encoder": [""], "front": [FRONT]}
    if isinstance(freeze, str) and freeze in known:
        return known[freeze]
    kind, value = next(iter(freeze.items())) if _is_single(freeze) else (None, None)
    if kind == "pattern":
        return _as_list(value)
    counted = kind == "first_layers" and isinstance(value, int) and value >= 0
    layers = list(range(value)) if counted else value
    if kind not in ("layers", "first_layers") or not (
        isinstance(layers, list) and all(isinstance(n, int) and 0 <= n < num_layers for n in layers)
    ):
        raise ValueError(
            f"freeze: {freeze!r} is unknown; use none, encoder, front, {{first_layers: n}}, "
            f"{{layers: [0, ...]}} with layers 0 to {num_layers - 1}, or {{pattern: ...}}"
        )
    return [FRONT, *(rf"layers\.{n}\." for n in layers)]


def _is_single(freeze: Freeze) -> bool:
    return isinstance(freeze, Mapping) and len(freeze) == 1


def _as_list(patterns: object) -> list[str]:
    values = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) and v for v in values):
        raise ValueError(f"{patterns!r} must be a regular expression or a list of them")
    return list(values)


def _by_epoch(unfreeze: Mapping[int, str | Sequence[str]]) -> dict[int, list[str]]:
    plan = {}
    for epoch, patterns in unfreeze.items():
        if not str(epoch).isdecimal() or int(epoch) < 2:
            raise ValueError(
                f"unfreeze: {epoch!r} must be an epoch from 2 on; what is trained from the first "
                "epoch is left out of freeze"
            )
        plan[int(epoch)] = _as_list(patterns)
    return plan


def _matching(patterns: Sequence[str], names: Sequence[str], option: str) -> set[str]:
    """Names that begin with a match of a pattern; each pattern must have some."""
    found: set[str] = set()
    for pattern in patterns:
        try:
            matches = {name for name in names if re.match(pattern, name)}
        except re.error as error:
            raise ValueError(f"{option}: '{pattern}' is no regular expression: {error}") from error
        if not matches:
            raise ValueError(
                f"{option}: '{pattern}' matches no parameter; there are {', '.join(names)}"
            )
        found |= matches
    return found
