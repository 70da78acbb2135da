"""From a row of the manifest to the arrays of one sample."""

import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from espnet_psslm.bridge.simulate import Rows, Simulator, one_hot_rows
from espnet_psslm.data.audio import read_audio
from espnet_psslm.steps.made import Dumps, Made, OtherSteps
from espnet_psslm.text.normalize import normalize_text
from espnet_psslm.text.prompt import PromptBook
from espnet_psslm.text.units import Units

SOURCES = ("auto", "no_audio", "audio", "steps", "text")
FIELDS = {"audio": "path", "steps": "steps", "text": "GT"}  # of a row, by source


class PSSLMPreprocessor:
    """Reads or simulates the speech side, and tokenises the text side.

    Every draw comes from (seed, epoch, key): the same sample is drawn alike whatever the number
    of data workers, and anew in each epoch.

    Args:
        train: draw prompts and simulations anew each epoch; else as in epoch 0, first prompts.
        prompts: the prompt book.
        units: the CTC vocabulary; None: nothing can be simulated from text.
        end_id: token that ends an answer.
        simulator: makes posteriors of text; None: noise-free.
        source: ``audio``, ``steps`` (dumped) or ``text`` (simulated); ``auto`` takes what a row
            has, dumped Steps before audio before text; ``no_audio`` dumped Steps before text.
        seed: of all draws.
        made: how dumped Steps must have been made (``espnet_psslm.steps.made``).
    """

    def __init__(
        self,
        train: bool,
        *,
        prompts: PromptBook,
        units: Units | None,
        end_id: int,
        simulator: Simulator | None = None,
        source: str = "auto",
        seed: int = 0,
        made: Made = MappingProxyType({}),
    ) -> None:
        self.train = train
        if source not in SOURCES:
            raise ValueError(f"source '{source}' is unknown; use one of {SOURCES}")
        self.prompts = prompts
        self.units = units
        self.end_id = end_id
        self.simulator = simulator
        self.source = source
        self.seed = seed
        self.dumps = Dumps(made)
        self.epoch = 0
        self.written: dict[tuple[str, str], Rows] = {}  # by key and text, what is simulated ahead

    def __call__(self, uid: str, data: dict[str, Any]) -> dict[str, np.ndarray]:
        """Arrays of one sample.

        Args:
            uid: its key.
            data: ``{"sample": row of the manifest}``.

        Returns:
            ``prompt_index`` (1,), ``before_ids``, ``after_ids``, ``target_ids`` (end of turn
            included), and ``speech`` (N,), ``unit_ids`` and ``probs`` (U, K), or ``features``
            (U, D).
        """
        row = data["sample"]
        index, rng = self.draw_prompt(uid, row["task"])
        before, after = self.prompts.token_ids(index, row)
        target = [*self.prompts.encode_text(row["target"]), self.end_id]
        return {
            "prompt_index": np.array([index]),
            "before_ids": np.array(before, dtype=np.int64),
            "after_ids": np.array(after, dtype=np.int64),
            "target_ids": np.array(target),
            **self.speech_side(row, rng),
        }

    def begin_epoch(self, epoch: int) -> None:
        """Draw for this epoch from now on, counted from 1; 0: as validation does."""
        self.epoch = epoch
        if self.simulator is not None:
            self.simulator.epoch = epoch

    @property
    def writes_ahead(self) -> bool:
        """Whether simulating many rows at once is far faster than one by one."""
        return self.simulator is not None and self.simulator.writes_together

    def write_ahead(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Simulate the speech of many rows at once: what the call would, but faster.

        Args:
            rows: of the manifest; what is no text alone is left out.
        """
        rows = [row for row in rows if self.source_of(row) == "text"]
        texts = [self._units_of(row["GT"], row["key"]) for row in rows]
        rngs = (self.draw_prompt(row["key"], row["task"])[1] for row in rows)
        written = self.simulator.together(texts, rngs)
        self.written = dict(zip(((row["key"], row["GT"]) for row in rows), written, strict=True))

    def draw_prompt(self, key: str, task: str) -> tuple[int, np.random.Generator]:
        """A sample's prompt, and the generator of what is drawn for the sample after it."""
        rng = np.random.default_rng([self.seed, self.epoch, zlib.crc32(key.encode())])
        choices = self.prompts.indices(task)
        if self.train and len(choices) > 1:
            return choices[rng.integers(len(choices))], rng
        return choices[0], rng

    def _units_of(self, text: str, key: str) -> list[int]:
        """Units of a transcript; ``key`` is for the message."""
        if self.units is None:
            raise ValueError(
                f"sample '{key}' has text only, and encoder outputs (step_kind: feature) "
                "cannot be simulated: give it audio or dumped steps"
            )
        # Characters that the vocabulary lacks have no step in a CTC posterior either.
        return self.units.encode_known(normalize_text(text))

    def source_of(self, row: Mapping[str, Any]) -> str:
        """``audio``, ``steps`` or ``text``: what a row's speech side is taken from."""
        if self.source not in ("auto", "no_audio"):
            return self.source
        order = ("steps", "audio", "text") if self.source == "auto" else ("steps", "text")
        return next((source for source in order if FIELDS[source] in row), "text")

    def speech_of(self, row: Mapping[str, Any]) -> tuple[str, str]:
        """``audio``, ``steps`` or ``text``, and the path, location or transcript that a row has.

        Raises:
            ValueError: if the row has not what ``source`` asks for.
        """
        source = self.source_of(row)
        if FIELDS[source] not in row:
            raise ValueError(
                f"sample '{row['key']}' has no field '{FIELDS[source]}', which source={source} "
                "needs"
            )
        return source, row[FIELDS[source]]

    def speech_side(
        self, row: Mapping[str, Any], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """``speech``, or the Steps, of a row.

        Raises:
            OtherSteps: if its dump was made otherwise.
            ValueError: if the row has not what ``source`` asks for, or it cannot be read.
        """
        source, value = self.speech_of(row)
        if source == "text":
            rows = self.written.get((row["key"], value))
            if rows is None:
                known = self._units_of(value, row["key"])
                rows = self.simulator(known, rng) if self.simulator else one_hot_rows(known)
            return {"unit_ids": rows[0], "probs": rows[1]}
        try:
            return self._read(source, value)
        except OtherSteps:
            raise
        except ValueError as error:
            raise ValueError(f"sample '{row['key']}': {error}") from error

    def _read(self, source: str, value: str) -> dict[str, np.ndarray]:
        if source == "audio":
            return {"speech": read_audio(value)}
        return {name: array.numpy() for name, array in self.dumps.read(value)[0].items()}
