"""Answer the rows of a manifest with a trained model.

    row -> arrays (audio read, Steps read, or simulated from text) -> pieces that fit the models
        -> batches of like length -> answers -> the answers to the pieces of a row, joined

Nothing here knows where answers go; ``bin/psslm_inference`` writes them.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from espnet_psslm.acoustic.choice import WHISPER_CTC
from espnet_psslm.bridge.clarity import Clarity, clarity_of
from espnet_psslm.bridge.guard import Guard
from espnet_psslm.bridge.steps import PosteriorSteps, Steps
from espnet_psslm.data.audio import SAMPLE_RATE
from espnet_psslm.device import is_host, resolve_device
from espnet_psslm.inference.decoded import Decoded
from espnet_psslm.inference.kept_answers import KeptAnswers
from espnet_psslm.llm.answers import Answer, Hypothesis, join_hypotheses
from espnet_psslm.llm.confidence import CONFIDENCES
from espnet_psslm.llm.fallback import CTCFallback
from espnet_psslm.llm.labels import LabelTrie, build_trie
from espnet_psslm.llm.lora import LoRA
from espnet_psslm.pieces import PieceCutter
from espnet_psslm.tasks.psslm_parts import build_tokenizer
from espnet_psslm.trained import load_model, read_config
from espnet_psslm.training.builders import build_collate, build_preprocessor, with_defaults

STEP_INPUTS = ("unit_ids", "probs", "unit_ids_lengths", "features", "features_lengths")
WINDOW = 16  # batches that are read at once and sorted by length; bounds the audio in memory

Row = Mapping[str, Any]
Sample = dict[str, np.ndarray]
Piece = tuple[str, int]  # key of a row, and which piece of it


class PSSLMDecoder:
    """A trained model with all it needs to answer rows of a manifest.

    Args:
        train_config: ``config.yaml`` of the training.
        model_file: its trained parameters.
        device: ``auto``, ``cpu``, ``cuda[:n]`` or ``npu[:n]``.
        source: where the speech side comes from, as in training's ``--source``; the training's
            own value does not count (after text-only training one decodes audio).
        oracle: feed the noise-free simulation of the transcripts (``GT``).
        acoustic_conf: ``train_config`` and ``model_file`` in place of the configuration's.
        batch_size: rows per batch.
        beam_size: beams; 1 is greedy.
        max_new_tokens: longest answer, in tokens.
        max_len_ratio: longest answer, in tokens per step heard; 0: no such limit.
        merge_lora: add trained adapters to the language model's weights; see ``LoRA.merge``.
        nbest: answers per row, at most ``beam_size``.
        confidence: name in ``CONFIDENCES``; None: none is computed.
        choices: task -> labels that its answers must be one of.
        guard: when a transcript falls back to CTC's text; None: never.
        trust_remote_code: run code that lies beside the language model's weights. What the
            configuration says does not count: it may have come with a pack.

    Raises:
        ValueError: if a file is missing or does not fit the others.
    """

    def __init__(
        self,
        train_config: str | Path,
        model_file: str | Path,
        *,
        device: str = "auto",
        source: str = "auto",
        oracle: bool = False,
        acoustic_conf: Mapping[str, str] | None = None,
        batch_size: int = 16,
        beam_size: int = 4,
        max_new_tokens: int = 64,
        max_len_ratio: float = 0.0,
        merge_lora: bool = False,
        nbest: int = 1,
        confidence: str | None = None,
        choices: Mapping[str, Sequence[str]] | None = None,
        guard: Guard | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        sizes = {
            "batch_size": batch_size,
            "beam_size": beam_size,
            "max_new_tokens": max_new_tokens,
            "nbest": nbest,
        }
        _check_search(sizes, max_len_ratio)
        self.device = resolve_device(device)
        self.batch_size = batch_size
        self.beam_size = beam_size
        self.max_new_tokens = max_new_tokens
        self.max_len_ratio = max_len_ratio
        self.nbest = nbest
        self.confidence = None if confidence is None else CONFIDENCES[confidence]()
        if confidence is not None and self.confidence.needs_beams and beam_size == 1:
            raise ValueError(f"confidence {confidence} compares beams: beam_size must exceed 1")
        args = with_defaults(read_config(train_config))
        args.source = "text" if oracle else source
        if acoustic_conf is not None:
            args.acoustic, args.acoustic_conf = WHISPER_CTC, dict(acoustic_conf)
        args.acoustic_conf = dict(args.acoustic_conf)
        args.ngpu = int(not is_host(self.device))
        args.llm_conf = {**args.llm_conf, "trust_remote_code": trust_remote_code}
        args.projector_init = "none"  # the checkpoint holds the projector
        self.model = load_model(args, model_file, self.device)
        if merge_lora:
            if not isinstance(self.model.lm, LoRA):
                raise ValueError(f"merge_lora: {train_config} has no tuning: lora")
            self.model.lm.merge()
        self.preprocessor = build_preprocessor(args, train=False)
        if oracle:
            self.preprocessor.simulator = None
        self.collate = build_collate(args)
        self.tokenizer = build_tokenizer(args)
        self.choices = self._build_choices(choices or {})
        self.guard = None if guard is None else self._build_guard(guard, args.step_kind)
        self.cutter = PieceCutter(
            self.model, max_new_tokens=max_new_tokens, whole_tasks=list(self.choices)
        )

    def _build_guard(self, guard: Guard, step_kind: str) -> CTCFallback:
        if step_kind == "feature":
            raise ValueError(
                "the guard compares with CTC's text, which step_kind: feature does not keep: leave "
                "out --guard_tasks"
            )
        return CTCFallback(guard, units=self.preprocessor.units, reduction=self.model.reduction)

    def _build_choices(self, choices: Mapping[str, Sequence[str]]) -> dict[str, LabelTrie]:
        prompts = self.preprocessor.prompts
        tries = {}
        for task, labels in choices.items():
            prompts.indices(task)  # raises where there is no such task
            trie = build_trie(labels, encode=prompts.encode_text, end_id=self.model.end_id)
            if trie.longest > self.max_new_tokens:
                raise ValueError(
                    f"max_new_tokens ({self.max_new_tokens}): a label of {task} has "
                    f"{trie.longest} tokens, end of turn included; allow as many"
                )
            tries[task] = trie
        return tries

    def decode(self, rows: Sequence[Row]) -> list[Hypothesis]:
        """Answer rows, all of which must be usable.

        Args:
            rows: of a manifest: ``key``, ``task``, and ``path``, ``steps`` or ``GT``.

        Returns:
            One answer per row; its text is empty where nothing was heard.

        Raises:
            ValueError: naming the first row that cannot be used.
        """
        decoded = self.decode_usable(rows)
        for key, reason in decoded.skipped.items():
            raise ValueError(f"sample '{key}': {reason}")
        return list(decoded.hypotheses.values())

    def decode_usable(
        self,
        rows: Sequence[Row],
        *,
        progress: Callable[[int], object] = lambda count: None,
        remember: bool = False,
        kept: KeptAnswers | None = None,
    ) -> Decoded:
        """Answer the rows that can be used.

        Args:
            rows: of a manifest.
            progress: called with the number of rows done since its last call.
            remember: keep the Steps of what is heard (kilobytes an utterance): later calls do not
                read and encode the same audio file again.
            kept: answers of an earlier run, which are taken as they are; it gets the new ones.
        """
        paths = {row["key"]: row["path"] for row in rows if "path" in row} if remember else {}
        decoded = Decoded()
        window = WINDOW * self.batch_size
        for first in range(0, len(rows), window):
            part = rows[first : first + window]
            found = None if kept is None else kept.find(part)
            if found is None:
                found = self._decode_window(part, paths, progress)
                if kept is not None:
                    kept.add(part, found)
            else:
                self._hear_again(part, paths, kept.wanted)
                progress(len(part))
            decoded.add(found)
        best = decoded.hypotheses.values()
        if cut := sum(len(hyp.token_ids) == self.max_new_tokens for hyp in best):
            logging.warning("%d answers are cut at %d tokens", cut, self.max_new_tokens)
        return decoded

    def _decode_window(
        self, rows: Sequence[Row], paths: Mapping[str, str], progress: Callable[[int], object]
    ) -> Decoded:
        """Answer rows that are read at once; remember what is heard of ``paths`` (by key)."""
        start = time.perf_counter()
        decoded = Decoded()
        samples = self._read(rows, decoded.skipped)
        pieces = Counter(key for (key, _), _ in samples)
        progress(len(rows) - len(pieces))
        decoded.audio_s = sum(len(s.get("speech", ())) for _, s in samples) / SAMPLE_RATE
        decoded.num_cut = sum(count > 1 for count in pieces.values())
        whole = _whole(samples, paths)
        answers: dict[Piece, list[Hypothesis]] = {}
        for batch in self._batches(samples):
            answers |= self._decode_batch(batch, whole)
            progress(sum(piece == 0 for (_, piece), _ in batch))
        for row in rows:
            if (key := row["key"]) in pieces:
                parts = [answers[key, piece] for piece in range(pieces[key])]
                found = join_hypotheses(parts, num_best=self._num_best)
                decoded.nbest[key] = found[: self.nbest]
                if self.confidence is not None:
                    decoded.confidence[key] = self.confidence(found)
        decoded.wall_s = time.perf_counter() - start
        return decoded

    @torch.no_grad()
    def _hear_again(self, rows: Sequence[Row], paths: Mapping[str, str], wanted: Set[str]) -> None:
        """Remember what an earlier run has heard of ``wanted`` audio, in the same batches.

        In others, padded to another length, the last bits of the Steps may differ.
        """
        wanted = wanted - self.preprocessor.heard.keys()
        if wanted.isdisjoint(paths.get(row["key"]) for row in rows):
            return
        samples = self._read(rows, {})
        whole = _whole(samples, paths)
        for batch in self._batches(samples):
            if any(whole.get(piece) in wanted for piece, _ in batch):
                self._hear(*self._inputs(batch), whole)

    def _batches(self, samples: list[tuple[Piece, Sample]]) -> Iterator[list[tuple[Piece, Sample]]]:
        # Longest first: memory that suffices for the first batch suffices for all.
        ordered = sorted(samples, key=_length, reverse=True)
        for start in range(0, len(ordered), self.batch_size):
            yield ordered[start : start + self.batch_size]

    @property
    def _num_best(self) -> int:
        """Answers to look for; of these ``nbest`` are given out."""
        all_beams = self.confidence is not None and self.confidence.needs_beams
        return self.beam_size if all_beams else self.nbest

    def _read(self, rows: Sequence[Row], skipped: dict[str, str]) -> list[tuple[Piece, Sample]]:
        samples = []
        for row in rows:
            key = row["key"]
            try:
                pieces = self.cutter(row, self.preprocessor(key, {"sample": row}))
            except ValueError as error:
                skipped[key] = str(error).removeprefix(f"sample '{key}': ")
            else:
                samples += [((key, number), piece) for number, piece in enumerate(pieces)]
        return samples

    @torch.no_grad()
    def _decode_batch(
        self, samples: list[tuple[Piece, Sample]], paths: Mapping[Piece, str]
    ) -> dict[Piece, list[Hypothesis]]:
        keys, inputs = self._inputs(samples)
        inputs, steps = self._hear(keys, inputs, paths)
        prompts = self.preprocessor.prompts.prompts
        tasks = [prompts[index].task for index in inputs["prompt_index"]]
        answers = self.model.generate_nbest(
            beam_size=self.beam_size,
            num_best=self._num_best,
            max_new_tokens=self.max_new_tokens,
            max_len_ratio=self.max_len_ratio,
            labels=[self.choices.get(task) for task in tasks] if self.choices else None,
            **inputs,
        )
        heard = clarity_of(steps) if isinstance(steps, PosteriorSteps) else [None] * len(keys)
        found = [
            [self._hypothesis(answer, task, clarity) for answer in best]
            for best, task, clarity in zip(answers, tasks, heard, strict=True)
        ]
        if self.guard is not None:
            found = self.guard(found, tasks, steps)
        return dict(zip(keys, found, strict=True))

    def _inputs(self, samples: list[tuple[Piece, Sample]]) -> tuple[list[Piece], dict[str, Any]]:
        keys, batch = self.collate(samples)
        del batch["target_ids"], batch["target_ids_lengths"]
        inputs = {
            name: value.to(self.device) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }
        return keys, inputs

    def _hypothesis(self, answer: Answer, task: str, heard: Clarity | None) -> Hypothesis:
        if task in self.choices and answer.num_tokens:
            text = self.choices[task].text(answer.token_ids)
        else:
            text = self.tokenizer.decode(answer.token_ids, skip_special_tokens=True).strip()
        return Hypothesis(text, answer.token_ids, answer.log_prob, answer.num_tokens, heard=heard)

    def _hear(
        self, keys: list[Piece], inputs: dict[str, Any], paths: Mapping[Piece, str]
    ) -> tuple[dict[str, Any], Steps]:
        """The inputs with Steps in place of audio, and these; those of ``paths`` are kept."""
        names = ("speech", "speech_lengths", "speech_rows", *STEP_INPUTS)
        source = {name: inputs.pop(name) for name in names if name in inputs}
        steps = self.model.steps(**source, num_units=inputs["num_units"])
        for row in source.get("speech_rows", ()):
            if keys[row] in paths:
                sample = steps.sample(row).items()
                heard = {name: value.cpu().numpy() for name, value in sample}
                self.preprocessor.heard[paths[keys[row]]] = heard
        return inputs | steps.inputs(), steps


def _check_search(sizes: Mapping[str, int], max_len_ratio: float) -> None:
    """Raise ValueError where a number of the search has no sense."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} ({value}) must be at least 1")
    if sizes["nbest"] > sizes["beam_size"]:
        raise ValueError(
            f"nbest ({sizes['nbest']}) must not exceed beam_size ({sizes['beam_size']})"
        )
    if max_len_ratio < 0:
        raise ValueError(f"max_len_ratio ({max_len_ratio}) must not be negative")


def _whole(samples: Sequence[tuple[Piece, Sample]], paths: Mapping[str, str]) -> dict[Piece, str]:
    """Audio files, of ``paths`` by key, of what is in one piece: what is cut is heard anew."""
    pieces = Counter(key for (key, _), _ in samples)
    return {(key, 0): path for key, path in paths.items() if pieces[key] == 1}


def _length(item: tuple[Piece, Sample]) -> tuple[int, int]:
    """Rows with audio first, each kind by its length."""
    _, sample = item
    return len(sample.get("speech", ())), len(sample.get("unit_ids", sample.get("features", ())))
