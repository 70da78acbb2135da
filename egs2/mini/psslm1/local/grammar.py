"""The sentence grammar of the mini recipe: templates with alternatives and typed slots.

``grammar/templates.txt`` and ``grammar/slots.txt`` say how they are written. A sentence comes with
its scenario, action and entities, all of SLURP's names.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from espnet_psslm.common.lines import read_lines

MIN_WORDS, MAX_WORDS = 3, 12
POLITE_SHARE = 0.4  # of the requests that may be wrapped politely
POLITE_WRAPS = (
    "please {}",
    "{} please",
    "can you {}",
    "could you {}",
    "would you {}",
    "can you please {}",
)
MAX_TRIES = 200  # draws before a template counts as used up
HELD_MARK, POLITE_MARK = "held: ", "!"

GRAMMAR_DIR = Path(__file__).parent / "grammar"


@dataclass(frozen=True)
class Slot:
    """A place for a value of one kind."""

    kind: str


@dataclass(frozen=True)
class Choice:
    """One of several node sequences."""

    options: tuple[tuple["Node", ...], ...]


Node = str | Slot | Choice


@dataclass(frozen=True)
class Template:
    """One wording of one intent."""

    name: str  # such as "alarm_set-seen0"
    scenario: str
    action: str
    seen: bool  # may be used for training
    polite: bool  # may be wrapped politely
    nodes: tuple[Node, ...]

    @property
    def kinds(self) -> set[str]:
        """Slot kinds that may occur."""
        return set(_iter_kinds(self.nodes))


@dataclass(frozen=True)
class Sentence:
    """One sentence with its labels."""

    text: str
    scenario: str
    action: str
    template: str
    seen_template: bool
    entities: tuple[tuple[str, str], ...]  # (type, filler), in the order of the sentence


@dataclass
class Slots:
    """Values of one slot kind."""

    train: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)  # in test only


class Grammar:
    """Templates and slot values.

    Args:
        folder: holds ``templates.txt`` and ``slots.txt``.

    Raises:
        ValueError: if a file breaks the notation; names file, line and fix.
    """

    def __init__(self, folder: str | Path = GRAMMAR_DIR) -> None:
        folder = Path(folder)
        self.slots = read_slots(folder / "slots.txt")
        self.templates = read_templates(folder / "templates.txt", kinds=set(self.slots))

    @property
    def intents(self) -> list[tuple[str, str]]:
        """(scenario, action) pairs, in the file's order."""
        return list(dict.fromkeys((t.scenario, t.action) for t in self.templates))

    def sample(
        self,
        template: Template,
        rng: random.Random,
        *,
        taken: set[str],
        held: tuple[str, str] | None = None,
    ) -> Sentence | None:
        """Draw a sentence that is not taken.

        Args:
            template: where to draw from.
            rng: source of randomness.
            taken: texts that must not come out.
            held: (kind, value) of a held-out value that must occur; all others are values of
                training.

        Returns:
            The sentence, or None if ``MAX_TRIES`` draws gave none.
        """
        for _ in range(MAX_TRIES):
            entities: list[tuple[str, str]] = []
            raw = self._expand(template.nodes, rng, entities, held)
            text = " ".join(raw.split())
            if template.polite and rng.random() < POLITE_SHARE:
                text = rng.choice(POLITE_WRAPS).format(text)
            if held is not None and held not in entities:
                continue
            if MIN_WORDS <= len(text.split()) <= MAX_WORDS and text not in taken:
                return Sentence(
                    text=text,
                    scenario=template.scenario,
                    action=template.action,
                    template=template.name,
                    seen_template=template.seen,
                    entities=tuple(entities),
                )
        return None

    def _expand(
        self,
        nodes: tuple[Node, ...],
        rng: random.Random,
        entities: list[tuple[str, str]],
        held: tuple[str, str] | None,
    ) -> str:
        """Draw the text of a node sequence; appends to ``entities``."""
        parts = []
        for node in nodes:
            if isinstance(node, str):
                parts.append(node)
            elif isinstance(node, Choice):
                parts.append(self._expand(rng.choice(node.options), rng, entities, held))
            else:
                if held is not None and node.kind == held[0] and held not in entities:
                    entity = held
                else:
                    used = {filler for _, filler in entities}
                    values = [v for v in self.slots[node.kind].train if v not in used]
                    entity = (node.kind, rng.choice(values))
                entities.append(entity)
                parts.append(entity[1])
        return "".join(parts)

    def count(self, template: Template) -> int:
        """Number of expansions with values of training, without the polite wraps."""
        return self._count(template.nodes)

    def _count(self, nodes: tuple[Node, ...]) -> int:
        total = 1
        for node in nodes:
            if isinstance(node, Slot):
                total *= len(self.slots[node.kind].train)
            elif isinstance(node, Choice):
                total *= sum(self._count(option) for option in node.options)
        return total


def _iter_kinds(nodes: tuple[Node, ...]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, Slot):
            yield node.kind
        elif isinstance(node, Choice):
            for option in node.options:
                yield from _iter_kinds(option)


def _sections(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, section, line) of a file with "[section]" headers."""
    section = ""
    for number, line in read_lines(path):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[]")
        elif not section:
            raise ValueError(f"{path}:{number}: {line!r} comes before any [section]; add one")
        else:
            yield number, section, line


def read_slots(path: Path) -> dict[str, Slots]:
    """Read the slot values.

    Args:
        path: ``slots.txt``.

    Returns:
        Values by kind.

    Raises:
        ValueError: if a value is there twice.
    """
    slots: dict[str, Slots] = {}
    for number, kind, line in _sections(path):
        values = slots.setdefault(kind, Slots())
        held = line.startswith(HELD_MARK)
        value = line.removeprefix(HELD_MARK)
        if value in values.train or value in values.held:
            raise ValueError(f"{path}:{number}: {value!r} is in [{kind}] twice; remove one")
        (values.held if held else values.train).append(value)
    return slots


def read_templates(path: Path, *, kinds: set[str]) -> list[Template]:
    """Read the templates.

    Args:
        path: ``templates.txt``.
        kinds: slot kinds that exist.

    Returns:
        The templates, in the file's order.

    Raises:
        ValueError: if a line breaks the notation or names an unknown slot kind.
    """
    templates: list[Template] = []
    for number, section, line in _sections(path):
        scenario, _, action = section.partition(" ")
        group, _, body = line.partition(": ")
        if group not in ("seen", "unseen") or not action:
            raise ValueError(
                f"{path}:{number}: {line!r} in [{section}]; write 'seen: ...' or 'unseen: ...' "
                "below a '[scenario action]' line"
            )
        try:
            nodes = parse_template(body.removeprefix(POLITE_MARK))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        unknown = set(_iter_kinds(nodes)) - kinds
        if unknown:
            raise ValueError(f"{path}:{number}: unknown slot kinds {sorted(unknown)}")
        name = f"{scenario}_{action}-{group}"
        index = sum(template.name.startswith(name) for template in templates)
        templates.append(
            Template(
                name=f"{name}{index}",
                scenario=scenario,
                action=action,
                seen=group == "seen",
                polite=body.startswith(POLITE_MARK),
                nodes=nodes,
            )
        )
    return templates


def parse_template(body: str) -> tuple[Node, ...]:
    """Parse the notation of one template.

    Args:
        body: text with "(a|b)" choices and "{kind}" slots; choices may be nested.

    Returns:
        The nodes.

    Raises:
        ValueError: if brackets do not match.
    """
    tokens = re.findall(r"\{[a-z_]+\}|[()|]|[^(){}|]+|.", body)
    nodes, end = _parse_sequence(tokens, 0)
    if end != len(tokens):
        raise ValueError(f"unmatched {tokens[end]!r} in template {body!r}")
    return nodes


def _parse_sequence(tokens: list[str], start: int) -> tuple[tuple[Node, ...], int]:
    """Parse up to "|", ")" or the end; returns the nodes and where it stopped."""
    nodes: list[Node] = []
    position = start
    while position < len(tokens) and tokens[position] not in ("|", ")"):
        token = tokens[position]
        if token == "(":
            options = []
            while position < len(tokens) and tokens[position] in ("(", "|"):
                option, position = _parse_sequence(tokens, position + 1)
                options.append(option)
            if position == len(tokens):
                raise ValueError("'(' without ')' in the template")
            nodes.append(Choice(tuple(options)))
        elif token in ("{", "}"):
            raise ValueError(f"unmatched {token!r} in the template; slots are written {{kind}}")
        elif token.startswith("{"):
            nodes.append(Slot(token[1:-1]))
        else:
            nodes.append(token)
        position += 1
    return tuple(nodes), position
