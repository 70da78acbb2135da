"""Answers of a trained model, to waveforms or to the rows of a manifest.

    sample: a waveform, or Steps (dumped, or simulated from text)
        -> heard in batches of like length -> pieces that fit the models
        -> answered in batches of like length -> the answers to the pieces of a sample, joined

Nothing here knows where answers go; ``bin/psslm_inference`` writes them.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from espnet_psslm.acoustic.choice import WHISPER_CTC
from espnet_psslm.bridge.guard import Guard
from espnet_psslm.bridge.steps import Steps
from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.device import is_host, resolve_device
from espnet_psslm.inference.answering import Answerer, Question
from espnet_psslm.inference.decoded import Decoded
from espnet_psslm.inference.drafting import CTCDrafts
from espnet_psslm.inference.kept_answers import KeptAnswers
from espnet_psslm.inference.listening import Listener, Sample
from espnet_psslm.inference.reading import Row, RowReader
from espnet_psslm.llm.answers import Hypothesis, join_hypotheses
from espnet_psslm.llm.confidence import CONFIDENCES
from espnet_psslm.llm.fallback import CTCFallback
from espnet_psslm.llm.labels import LabelTrie, build_trie
from espnet_psslm.llm.lora import LoRA
from espnet_psslm.llm.search import Search
from espnet_psslm.tasks.psslm_parts import build_tokenizer, count_units
from espnet_psslm.trained import load_model, read_config
from espnet_psslm.training.builders import build_preprocessor, with_defaults

WINDOW = 16  # batches that are read at once and sorted by length; bounds the audio in memory


class PSSLMDecoder:
    """A trained model with all it needs to answer.

    Args:
        train_config: ``config.yaml`` of the training.
        model_file: its trained parameters.
        device: ``auto``, ``cpu``, ``cuda[:n]`` or ``npu[:n]``.
        source: where the speech side comes from, as in training's ``--source``; the training's
            own value does not count (after text-only training one decodes audio).
        oracle: feed the noise-free simulation of the transcripts (``GT``).
        acoustic_conf: ``train_config`` and ``model_file`` of a Whisper-CTC model in place of the
            configuration's acoustic model.
        batch_size: samples per batch.
        beam_size: beams; 1 is greedy.
        max_new_tokens: longest answer, in tokens.
        max_len_ratio: longest answer, in tokens per step heard; 0: no such limit.
        merge_lora: add trained adapters to the language model's weights; see ``LoRA.merge``.
        nbest: answers per sample, at most ``beam_size``.
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
        search = Search(beam_size, nbest, max_new_tokens, max_len_ratio)
        if batch_size < 1:
            raise ValueError(f"batch_size ({batch_size}) must be at least 1")
        self.nbest = nbest
        self.confidence = None if confidence is None else CONFIDENCES[confidence]()
        if confidence is not None and self.confidence.needs_beams:
            if beam_size == 1:
                raise ValueError(f"confidence {confidence} compares beams: beam_size must exceed 1")
            search = replace(search, nbest=beam_size)  # of which ``nbest`` are given out
        self.batch_size = batch_size
        self.device = resolve_device(device)
        args = with_defaults(read_config(train_config))
        args.source = "text" if oracle else source
        if acoustic_conf is not None:
            args.acoustic, args.acoustic_conf = WHISPER_CTC, dict(acoustic_conf)
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
        tokenizer = build_tokenizer(args)
        self.answerer = Answerer(
            self.model,
            self.preprocessor.prompts,
            tokenizer,
            search=search,
            batch_size=batch_size,
            choices=self._build_choices(choices or {}, max_new_tokens=max_new_tokens),
            fallback=None if guard is None else self._build_fallback(guard, args.step_kind),
            drafts=self._build_drafts(tokenizer, beam_size=beam_size),
        )
        self.listener = Listener(
            self.model, batch_size=batch_size, whole_tasks=self.answerer.choices.keys()
        )
        self.reader = RowReader(
            self.preprocessor,
            self.answerer,
            self.listener,
            num_units=count_units(args),
            blank_id=self.model.reduction.blank_id,
        )

    def _build_fallback(self, guard: Guard, step_kind: str) -> CTCFallback:
        if step_kind == "feature":
            raise ValueError(
                "the guard compares with CTC's text, which step_kind: feature does not keep: leave "
                "out --guard_tasks"
            )
        return CTCFallback(guard, units=self.preprocessor.units, reduction=self.model.reduction)

    def _build_drafts(self, tokenizer: Any, *, beam_size: int) -> CTCDrafts | None:
        if beam_size > 1 or self.preprocessor.units is None:
            return None
        return CTCDrafts(
            self.preprocessor.units,
            reduction=self.model.reduction,
            prompts=self.preprocessor.prompts,
            tokenizer=tokenizer,
        )

    def _build_choices(
        self, choices: Mapping[str, Sequence[str]], *, max_new_tokens: int
    ) -> dict[str, LabelTrie]:
        prompts = self.preprocessor.prompts
        tries = {}
        for task, labels in choices.items():
            prompts.indices(task)  # raises where there is no such task
            trie = build_trie(labels, encode=prompts.encode_text, end_id=self.model.end_id)
            if trie.longest > max_new_tokens:
                raise ValueError(
                    f"max_new_tokens ({max_new_tokens}): a label of {task} has "
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
        decoded = Decoded()
        window = WINDOW * self.batch_size
        for first in range(0, len(rows), window):
            part = rows[first : first + window]
            found = None if kept is None else kept.find(part)
            if found is None:
                found = self._decode_window(part, remember, progress)
                if kept is not None:
                    kept.add(part, found)
            else:
                if remember:
                    self._hear_again(part, kept.wanted)
                progress(len(part))
            decoded.add(found)
        longest = self.answerer.search.max_new_tokens
        best = decoded.hypotheses.values()
        if cut_off := sum(len(hyp.token_ids) == longest for hyp in best):
            logging.warning("%d answers are cut at %d tokens", cut_off, longest)
        return decoded

    def _decode_window(
        self, rows: Sequence[Row], remember: bool, progress: Callable[[int], object]
    ) -> Decoded:
        """Answer rows that are read at once."""
        start = time.perf_counter()
        decoded = Decoded()
        samples = self.reader.read(rows, decoded.skipped)
        progress(len(rows) - len(samples))
        waves = [sample.heard for sample in samples if isinstance(sample.heard, np.ndarray)]
        decoded.audio_s = sum(map(len, waves)) / SAMPLE_RATE
        samples = self.listener(samples)
        if remember:
            self.reader.remember(samples)
        self._answer(samples, decoded, progress)
        decoded.wall_s = time.perf_counter() - start
        return decoded

    def _hear_again(self, rows: Sequence[Row], wanted: Set[str]) -> None:
        """Remember what an earlier run has heard of ``wanted`` audio, in the same batches.

        In others, padded to another length, the last bits of the Steps may differ.
        """
        wanted = wanted - self.reader.remembered.keys()
        if not wanted.isdisjoint(row.get("path") for row in rows):
            for batch in self.listener.batches(self.reader.read(rows, {})):
                if not wanted.isdisjoint(sample.path for sample in batch):
                    self.reader.remember(self.listener.hear(batch))

    def answer(self, samples: Sequence[Sample]) -> list[list[Hypothesis]]:
        """Answers to each sample, best first.

        Args:
            samples: of ``reader.sample``; waveforms are heard.

        Raises:
            ValueError: naming the first sample that cannot be used.
        """
        decoded = Decoded()
        self._answer(self.listener(samples), decoded, lambda count: None)
        for key, reason in decoded.skipped.items():
            raise ValueError(f"{key}: {reason}")
        return list(decoded.nbest.values())

    def _answer(
        self, samples: Sequence[Sample], decoded: Decoded, progress: Callable[[int], object]
    ) -> None:
        """Put the answers to samples that were heard into ``decoded``."""
        asked: list[tuple[Question, Steps]] = []
        places: dict[str, range] = {}  # of each sample's pieces
        for sample in samples:
            try:
                fits = self.answerer.room(sample.question)
                pieces = self.listener.pieces(sample, fits=fits)
            except ValueError as error:
                decoded.skipped[sample.key] = str(error)
                progress(1)
            else:
                places[sample.key] = range(len(asked), len(asked) + len(pieces))
                asked += [(sample.question, steps) for steps in pieces]
        decoded.num_cut += sum(len(pieces) > 1 for pieces in places.values())
        firsts = {pieces[0] for pieces in places.values()}
        answers: dict[int, list[Hypothesis]] = {}
        for batch in self.answerer(asked):
            answers |= batch
            progress(len(firsts & batch.keys()))
        num_best = self.answerer.search.nbest
        for key, pieces in places.items():
            found = join_hypotheses([answers[piece] for piece in pieces], num_best=num_best)
            decoded.nbest[key] = found[: self.nbest]
            if self.confidence is not None:
                decoded.confidence[key] = self.confidence(found)
