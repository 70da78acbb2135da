"""Answer the rows of a manifest with a trained model.

    row -> arrays (audio read, Steps read, or simulated from text) -> batches of like length -> text

Nothing here knows where answers go; ``bin/psslm_inference`` writes them.
"""

import argparse
import logging
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from espnet_psslm.data.audio import SAMPLE_RATE
from espnet_psslm.device import resolve_device
from espnet_psslm.llm.backbone import load_tokenizer
from espnet_psslm.llm.lora import LoRA
from espnet_psslm.llm.model import Hypothesis, PSSLMModel
from espnet_psslm.tasks.psslm import PSSLMTask

STEP_INPUTS = ("unit_ids", "probs", "unit_ids_lengths", "features", "features_lengths")
WINDOW = 16  # batches that are read at once and sorted by length; bounds the audio in memory

Row = Mapping[str, Any]
Sample = dict[str, np.ndarray]


@dataclass(frozen=True)
class Decoded:
    """What became of some rows."""

    hypotheses: dict[str, Hypothesis]  # by key, in the order of the rows
    skipped: dict[str, str]  # key -> why its row could not be used
    audio_s: float  # duration of the audio that was read; what was remembered does not count


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
    ) -> None:
        sizes = {"batch_size": batch_size, "beam_size": beam_size, "max_new_tokens": max_new_tokens}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} ({value}) must be at least 1")
        self.device = resolve_device(device)
        self.batch_size = batch_size
        self.beam_size = beam_size
        if max_len_ratio < 0:
            raise ValueError(f"max_len_ratio ({max_len_ratio}) must not be negative")
        self.max_new_tokens = max_new_tokens
        self.max_len_ratio = max_len_ratio
        # Options that are younger than the training mean what they did not yet change.
        defaults = vars(PSSLMTask.get_parser().parse_args([]))
        args = argparse.Namespace(**defaults | read_config(train_config))
        args.source = "text" if oracle else source
        args.acoustic_conf = dict(acoustic_conf or args.acoustic_conf)
        args.ngpu = int(self.device != torch.device("cpu"))
        args.projector_init = "none"  # the checkpoint holds the projector
        self.model = load_model(args, model_file, self.device)
        if merge_lora:
            if not isinstance(self.model.lm, LoRA):
                raise ValueError(f"merge_lora: {train_config} has no tuning: lora")
            self.model.lm.merge()
        self.preprocessor = PSSLMTask.build_preprocess_fn(args, train=False)
        if oracle:
            self.preprocessor.simulator = None
        self.collate = PSSLMTask.build_collate_fn(args, train=False)
        self.tokenizer = load_tokenizer(args.llm_conf["name"])

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
    ) -> Decoded:
        """Answer the rows that can be used.

        Args:
            rows: of a manifest.
            progress: called with the number of rows done since its last call.
            remember: keep the Steps of what is heard (kilobytes an utterance): later calls do not
                read and encode the same audio file again.
        """
        paths = {row["key"]: row["path"] for row in rows if "path" in row} if remember else {}
        found: dict[str, Hypothesis] = {}
        skipped: dict[str, str] = {}
        audio_s = 0.0
        window = WINDOW * self.batch_size
        for first in range(0, len(rows), window):
            part = rows[first : first + window]
            samples = self._read(part, skipped)
            progress(len(part) - len(samples))
            audio_s += sum(len(s.get("speech", ())) for _, s in samples) / SAMPLE_RATE
            # Longest first: memory that suffices for the first batch suffices for all.
            samples.sort(key=_length, reverse=True)
            for start in range(0, len(samples), self.batch_size):
                batch = samples[start : start + self.batch_size]
                found |= self._decode_batch(batch, paths)
                progress(len(batch))
        if cut := sum(len(hyp.token_ids) == self.max_new_tokens for hyp in found.values()):
            logging.warning("%d answers are cut at %d tokens", cut, self.max_new_tokens)
        in_order = {row["key"]: found[row["key"]] for row in rows if row["key"] in found}
        return Decoded(in_order, skipped, audio_s)

    def _read(self, rows: Sequence[Row], skipped: dict[str, str]) -> list[tuple[str, Sample]]:
        samples = []
        for row in rows:
            try:
                sample = self.preprocessor(row["key"], {"sample": row})
                self._check_duration(sample)
            except ValueError as error:
                skipped[row["key"]] = str(error)
            else:
                samples.append((row["key"], sample))
        return samples

    def _check_duration(self, sample: Sample) -> None:
        if "speech" not in sample or self.model.acoustic is None:
            return
        duration_s = len(sample["speech"]) / SAMPLE_RATE
        limit_s = self.model.acoustic.module.max_duration_s
        if duration_s > limit_s:
            raise ValueError(
                f"{duration_s:.1f} s of audio, the acoustic model takes {limit_s:.0f} s; cut it"
            )

    def _decode_batch(
        self, samples: list[tuple[str, Sample]], paths: Mapping[str, str]
    ) -> dict[str, Hypothesis]:
        keys, batch = self.collate(samples)
        del batch["target_ids"], batch["target_ids_lengths"]
        inputs = {
            name: value.to(self.device) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }
        if paths and "speech" in inputs:
            inputs = self._hear(keys, inputs, paths)
        answers = self.model.generate(
            beam_size=self.beam_size,
            max_new_tokens=self.max_new_tokens,
            max_len_ratio=self.max_len_ratio,
            **inputs,
        )
        texts = (self.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids, _ in answers)
        return {
            key: Hypothesis(text, ids, score)
            for key, text, (ids, score) in zip(keys, texts, answers, strict=True)
        }

    @torch.no_grad()
    def _hear(
        self, keys: list[str], inputs: dict[str, Any], paths: Mapping[str, str]
    ) -> dict[str, Any]:
        """The inputs with Steps in place of audio; those of ``paths`` are kept."""
        names = ("speech", "speech_lengths", "speech_rows", *STEP_INPUTS)
        source = {name: inputs.pop(name) for name in names if name in inputs}
        steps = self.model.steps(**source, num_units=inputs["num_units"])
        for row in source["speech_rows"]:
            if keys[row] in paths:
                sample = steps.sample(row).items()
                heard = {name: value.cpu().numpy() for name, value in sample}
                self.preprocessor.heard[paths[keys[row]]] = heard
        return inputs | steps.inputs()


def _length(item: tuple[str, Sample]) -> tuple[int, int]:
    """Rows with audio first, each kind by its length."""
    _, sample = item
    return len(sample.get("speech", ())), len(sample.get("unit_ids", sample.get("features", ())))


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a training's ``config.yaml``.

    Raises:
        ValueError: if there is no such file, or it is no configuration of this task.
    """
    if not Path(path).is_file():
        raise ValueError(f"--psslm_train_config {path}: no such file; stage 11 trains the model")
    config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    needed = ("token_list", "bpemodel", "prompt_file", "llm_conf", "acoustic_conf", "projector")
    lacking = [name for name in needed if not isinstance(config, dict) or name not in config]
    if lacking:
        raise ValueError(
            f"--psslm_train_config {path}: lacks {lacking}; give the config.yaml of psslm_train"
        )
    return config


def load_model(
    args: argparse.Namespace, model_file: str | Path, device: torch.device
) -> PSSLMModel:
    """Build a model from its configuration and load what was trained.

    Args:
        args: the configuration.
        model_file: state dict of the trained parameters.
        device: where to put it.

    Returns:
        The model, in eval mode.

    Raises:
        ValueError: if the file is missing, or is no checkpoint of such a model.
    """
    if not Path(model_file).is_file():
        raise ValueError(f"--psslm_model_file {model_file}: no such file; stage 11 makes it")
    try:
        state = torch.load(model_file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"--psslm_model_file {model_file} is no checkpoint: {str(error).splitlines()[0]}"
        ) from error
    model = PSSLMTask.build_model(args)
    model.load_state_dict(state)
    return model.to(device).eval()
