"""Prompts: from a task to the token ids on both sides of the speech.

A prompt file is JSON Lines, ``{"task": ..., "prompt": ...}``; several lines of one task are
alternatives: one is drawn at random in training, the first serves decoding. ``{}`` in a prompt
is filled from the sample's field that has the task's name (``hotword``, ``prevtext``).

A line may also have ``"system"``, the text of a system turn, and ``"examples"``, pairs of what a
speaker says and what to answer, which become turns of their own before the speech. Both belong to
the constant prefix, whose keys and values are computed once: showing a small language model what
an answer looks like costs next to nothing.

``"labels"`` lists the answers of a task that has a fixed set of them, ``"metric"`` says how its
answers are scored (a name in ``text/tasks.py``).

The chat template of the language model is rendered with marks where speech and field go, and cut
there *before* tokenising: no token is added to a frozen embedding, and a mark that a user's text
happens to contain stays plain text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_psslm.common.errors import in_words
from espnet_psslm.common.files import check_file
from espnet_psslm.common.json_files import parse_json
from espnet_psslm.common.lines import read_lines
from espnet_psslm.text.tasks import METRICS

# Private-use characters: prompts and fields that contain them are refused, and no chat template
# touches them.
SPEECH_MARK = "\ue000"
FIELD_MARK = "\ue001"
MARKS = (SPEECH_MARK, FIELD_MARK)
FIELD = "{}"


@dataclass(frozen=True)
class Prompt:
    """One line of the prompt file, rendered with the chat template and cut at the marks.

    Args:
        task: its task.
        prefix_ids: tokens that stand before everything a sample brings: constant.
        before: text between the prefix and the speech; may hold the field's mark.
        after: text behind the speech, up to where the answer begins; likewise.
    """

    task: str
    prefix_ids: tuple[int, ...]
    before: str
    after: str


class PromptBook:
    """All prompts of a model, by task.

    Args:
        prompt_file: JSON Lines.
        tokenizer: of the language model (Hugging Face).
        layout: what stands in the user's turn; ``{prompt}<speech>`` or ``<speech>{prompt}``.
        system: text of the system turn of prompts that bring none; None leaves it to the chat
            template, which may add its own.
        chat_template: Jinja text in place of the tokenizer's.

    Raises:
        ValueError: if a line of the file is malformed, or the tokenizer has no chat template
            and none is given.
    """

    def __init__(
        self,
        prompt_file: str | Path,
        tokenizer: Any,
        *,
        layout: str = "{prompt}<speech>",
        system: str | None = None,
        chat_template: str | None = None,
    ) -> None:
        if layout.count("{prompt}") != 1 or layout.count("<speech>") != 1:
            raise ValueError(f"layout '{layout}' must hold {{prompt}} and <speech> once each")
        if chat_template is None and not getattr(tokenizer, "chat_template", None):
            raise ValueError("the tokenizer has no chat template: set prompt_conf.chat_template")
        refuse_marks(layout, "layout of prompt_conf")
        refuse_marks(system or "", "system text of prompt_conf")
        self.tokenizer = tokenizer
        self.prompts: list[Prompt] = []
        self.by_task: dict[str, list[int]] = {}
        self._constant: dict[int, tuple[list[int], list[int]]] = {}  # prompts without a field
        for row in read_prompt_file(prompt_file):
            turns = _turns(row, layout, row.get("system", system))
            rendered = tokenizer.apply_chat_template(
                turns, chat_template=chat_template, tokenize=False, add_generation_prompt=True
            )
            self.by_task.setdefault(row["task"], []).append(len(self.prompts))
            self.prompts.append(self._cut(row["task"], rendered))

    def _cut(self, task: str, rendered: str) -> Prompt:
        left, mark, after = rendered.partition(SPEECH_MARK)
        if not mark:
            raise ValueError("the chat template drops the user's turn: set prompt_conf")
        constant, mark, rest = left.partition(FIELD_MARK)
        return Prompt(task, tuple(self.encode(constant)), mark + rest, after)

    def encode(self, text: str) -> list[int]:
        """Token ids of a piece of the chat template, without special tokens around it."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []

    def encode_text(self, text: str) -> list[int]:
        """Token ids of what a sample brings: a marker such as ``<|im_end|>`` is plain text."""
        if not text:
            return []
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            plain = {"add_special_tokens": False, "split_special_tokens": True}
            return self.tokenizer(text, **plain)["input_ids"]
        # What a call of the tokenizer itself sets each time, at several times the cost.
        backend.encode_special_tokens = True
        backend.no_padding()
        backend.no_truncation()
        return backend.encode(text, add_special_tokens=False).ids

    @property
    def tasks(self) -> list[str]:
        """Tasks that have a prompt."""
        return list(self.by_task)

    def indices(self, task: str) -> list[int]:
        """Indices of a task's prompts; the first is for decoding.

        Raises:
            ValueError: if the task has no prompt.
        """
        if task not in self.by_task:
            raise ValueError(
                f"task '{task}' has no prompt; known are {self.tasks}: "
                "add a line to the prompt file"
            )
        return self.by_task[task]

    def token_ids(self, index: int, sample: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """Token ids between prefix and speech, and behind the speech, for one sample.

        Raises:
            ValueError: if the prompt has a ``{}`` and the sample no usable field for it.
        """
        if index in self._constant:
            return self._constant[index]
        prompt = self.prompts[index]
        if FIELD_MARK not in prompt.before + prompt.after:
            self._constant[index] = self.encode(prompt.before), self.encode(prompt.after)
            return self._constant[index]
        if not isinstance(value := sample.get(prompt.task), str):
            raise ValueError(
                f"sample '{sample.get('key')}': the prompt of task '{prompt.task}' needs the "
                f"text field '{prompt.task}', got {value!r}; add it to the manifest"
            )
        refuse_marks(value, f"field '{prompt.task}' of sample '{sample.get('key')}'")
        return self._fill(prompt.before, value), self._fill(prompt.after, value)

    def _fill(self, part: str, value: str) -> list[int]:
        left, mark, right = part.partition(FIELD_MARK)
        middle = self.encode_text(value) if mark else []
        return [*self.encode(left), *middle, *self.encode(right)]


def refuse_marks(text: str, what: str) -> None:
    """Raise ValueError where a text has a character that marks places in prompts."""
    for mark in MARKS:
        if mark in text:
            raise ValueError(
                f"{what} has the character U+{ord(mark):04X}, which marks the place of the speech "
                f"or of a field in a prompt: remove it from {text!r}"
            )


def _turns(row: Mapping[str, Any], layout: str, system: str | None) -> list[dict[str, str]]:
    """The chat up to the answer, with marks where speech and field go."""

    def user(speech: str, text: str) -> dict[str, str]:
        content = layout.replace("<speech>", speech).replace("{prompt}", text)
        return {"role": "user", "content": content}

    turns = [] if system is None else [{"role": "system", "content": system}]
    for speech, answer in row.get("examples", ()):
        turns += [user(speech, row["prompt"]), {"role": "assistant", "content": answer}]
    return [*turns, user(SPEECH_MARK, row["prompt"].replace(FIELD, FIELD_MARK))]


def read_prompt_file(path: str | Path) -> list[dict[str, Any]]:
    """Read the lines of a prompt file.

    Returns:
        Objects with ``task`` and ``prompt``, some with ``system``, ``examples``, ``labels`` and
        ``metric``.

    Raises:
        ValueError: if there is no such file; naming file and line, if a line is no such object,
            has two ``{}``, or another metric than a line of the same task.
    """
    check_file(path, option="prompt file", fix="--prompt_file names it")
    rows: list[dict[str, Any]] = []
    metrics: dict[str, str] = {}
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            row = _check(parse_json(line))
            if (metric := row.get("metric")) and metrics.setdefault(row["task"], metric) != metric:
                raise ValueError(f"the metric is {metric}, and {metrics[row['task']]} above")
        except (ValueError, KeyError, TypeError) as error:
            reason = in_words(error) or f"lacks {error}"
            raise ValueError(
                f'{path}:{number}: {reason}; a line is {{"task": "ASR", "prompt": "..."}}'
            ) from error
        rows.append(row)
    if not rows:
        raise ValueError(f"{path}: no prompt in it")
    return rows


def _check(row: Any) -> dict[str, Any]:
    """Raise an error that says what is wrong with one line."""
    texts = [row["task"], row["prompt"], row.get("system", "")]
    for pair in row.get("examples", ()):
        if len(pair) != 2:
            raise ValueError(f"an example is a pair of speech and answer, got {pair!r}")
        texts += pair
    labels = row.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(x, str) and x.strip() for x in labels):
        raise ValueError(f"labels must be a list of texts, none of them empty, got {labels!r}")
    if row.get("metric", METRICS[0]) not in METRICS:
        raise ValueError(f"metric {row['metric']!r} is unknown: use one of {', '.join(METRICS)}")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"task, prompt, system and examples must be text, got {row!r}")
    for text in texts:
        refuse_marks(text, f"the prompt of task {row['task']}")
    if row["prompt"].count(FIELD) > 1:
        raise ValueError(f"a prompt may hold {{}} once, got {row['prompt']!r}")
    if FIELD in row["prompt"] and row.get("examples"):
        raise ValueError("a prompt with {} cannot have examples: they have no such field")
    return row
