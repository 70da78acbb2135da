"""Task ``SLU_entities``: scenario, action and entities of a command as one line of text.

    alarm | set | time: seven thirty | date: tomorrow

A language model writes the line, and the parser takes it or leaves it: nothing is repaired, so
that a score says what the model wrote. Entities keep the order in which they are spoken.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SEPARATOR = "|"
_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class SLUAnswer:
    """What a command asks for, in SLURP's terms."""

    scenario: str
    action: str
    entities: tuple[tuple[str, str], ...] = ()  # (type, filler)

    @classmethod
    def of(
        cls, scenario: str, action: str, entities: Iterable[Mapping[str, str]] = ()
    ) -> "SLUAnswer":
        """From entities as manifests and SLURP's prediction files write them.

        Args:
            scenario: its name.
            action: its name.
            entities: objects with ``type`` and ``filler``.

        Raises:
            ValueError: if an entity lacks one of them.
        """
        pairs = []
        for entity in entities:
            known = entity if isinstance(entity, Mapping) else {}
            pair = known.get("type"), known.get("filler")
            if not all(isinstance(part, str) for part in pair):
                raise ValueError(f"entity {entity!r} needs the texts 'type' and 'filler'")
            pairs.append(pair)
        return cls(scenario, action, tuple(pairs))

    def text(self) -> str:
        """The line.

        Raises:
            ValueError: if a name or a filler could not be read back.
        """
        parts = [self.scenario, self.action]
        parts += [f"{kind}: {filler}" for kind, filler in self.entities]
        line = f" {SEPARATOR} ".join(parts)
        if parse_answer(line) != self:
            raise ValueError(
                f"{line!r} cannot be read back: names take letters, digits and '_', fillers are "
                f"words with single blanks, without '{SEPARATOR}'"
            )
        return line


def parse_answer(line: str) -> SLUAnswer:
    """Read a line strictly.

    Args:
        line: what a model wrote; white space around its parts does not count.

    Returns:
        The answer.

    Raises:
        ValueError: if the line is no such answer, with what is wrong.
    """
    parts = [" ".join(part.split()) for part in line.split(SEPARATOR)]
    if len(parts) < 2:
        raise ValueError(f"{line!r} has no '{SEPARATOR}' between scenario and action")
    for name in parts[:2]:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} in {line!r} is no name of a scenario or an action")
    entities = []
    for part in parts[2:]:
        kind, colon, filler = part.partition(": ")
        if not colon or not filler or not _NAME.fullmatch(kind):
            raise ValueError(f"{part!r} in {line!r} is no entity; one is 'type: words'")
        entities.append((kind, filler))
    return SLUAnswer(parts[0], parts[1], tuple(entities))
