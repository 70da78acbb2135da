"""From a row of the manifest to the arrays of one sample."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from espnet_psslm.bridge.columns import Column, TextSamples
from espnet_psslm.bridge.draws import Draws
from espnet_psslm.bridge.simulate import Rows, Simulator, one_hot, one_hot_rows
from espnet_psslm.bridge.steps_file import read_sample
from espnet_psslm.data.audio import read_audio
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
        self.epoch = 0
        self.written: dict[str, Rows] = {}  # by key, what is simulated ahead

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
        rng = self.rng(uid)
        index = self._draw_prompt(row["task"], rng)
        before, after = self.prompts.token_ids(index, row)
        target = [*self.prompts.encode_text(row["target"]), self.end_id]
        arrays = {"prompt_index": [index], "before_ids": before, "after_ids": after}
        arrays = {
            name: np.asarray(ids, dtype=np.int64)
            for name, ids in (arrays | {"target_ids": target}).items()
        }
        return arrays | self.speech_side(row, rng)

    def rng(self, uid: str) -> np.random.Generator:
        """What draws for a sample in this epoch."""
        return np.random.default_rng([self.seed, self.epoch, zlib.crc32(uid.encode())])

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
        self.written = {}
        if rows:
            _, ids, probs = self._draw_many(rows)
            self.written = {row["key"]: (ids[i], probs[i]) for i, row in enumerate(rows)}

    def many_texts(self, rows: Sequence[Mapping[str, Any]]) -> TextSamples:
        """What the call gives for each of many rows whose speech side is made from text.

        Tokenizer, vocabulary and simulator are asked once for all of them.

        Args:
            rows: of the manifest.

        Returns:
            Key and arrays of each.

        Raises:
            ValueError: if units are lacking.
        """
        keys = [row["key"] for row in rows]
        targets = self.prompts.encode_texts([row["target"] for row in rows])
        for target in targets:
            target.append(self.end_id)
        indices, unit_ids, probs = self._draw_many(rows)
        around = [self.prompts.token_ids(i, row) for i, row in zip(indices, rows, strict=True)]
        columns = {
            "before_ids": Column.of_lists([before for before, _ in around]),
            "after_ids": Column.of_lists([after for _, after in around]),
            "target_ids": Column.of_lists(targets),
            "unit_ids": unit_ids,
            "probs": probs,
        }
        return TextSamples(keys, indices, columns)

    def _draw_many(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[int], Column, Column]:
        """Prompts and simulated Steps of many rows."""
        keys = [row["key"] for row in rows]
        units = self._units_of([row["GT"] for row in rows], keys[0])
        draws = Draws([self.seed, self.epoch], [zlib.crc32(key.encode()) for key in keys])
        indices = self._draw_prompts([row["task"] for row in rows], draws)
        return indices, *(self.simulator.many(units, draws) if self.simulator else one_hot(units))

    def _draw_prompts(self, tasks: Sequence[str], draws: Draws) -> list[int]:
        choices = [self.prompts.indices(task) for task in tasks]
        if not self.train:
            return [indices[0] for indices in choices]
        drawn = draws.integers(np.array([len(indices) for indices in choices]))
        return [indices[i] for indices, i in zip(choices, drawn.tolist(), strict=True)]

    def _draw_prompt(self, task: str, rng: np.random.Generator) -> int:
        choices = self.prompts.indices(task)
        if self.train and len(choices) > 1:
            return choices[rng.integers(len(choices))]
        return choices[0]

    def _units_of(self, texts: Sequence[str], key: str) -> Column:
        """Units of transcripts; ``key`` is of a sample, for the message."""
        if self.units is None:
            raise ValueError(
                f"sample '{key}' has text only, and encoder outputs (step_kind: feature) "
                "cannot be simulated: give it audio or dumped steps"
            )
        # Characters that the vocabulary lacks have no step in a CTC posterior either.
        rows = self.units.encode_many([normalize_text(text) for text in texts])
        units = Column.of_lists(rows)
        return units.where(units.values != self.units.unk_id)

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
            ValueError: if the row has not what ``source`` asks for, or it cannot be read.
        """
        source, value = self.speech_of(row)
        if source == "text":
            rows = self.written.get(row["key"])
            if rows is None:
                known = self._units_of([value], row["key"]).values.tolist()
                rows = self.simulator(known, rng) if self.simulator else one_hot_rows(known)
            return {"unit_ids": rows[0], "probs": rows[1]}
        try:
            return self._read(source, value)
        except ValueError as error:
            raise ValueError(f"sample '{row['key']}': {error}") from error

    def _read(self, source: str, value: str) -> dict[str, np.ndarray]:
        if source == "audio":
            return {"speech": read_audio(value)}
        return {name: array.numpy() for name, array in read_sample(value)[0].items()}
