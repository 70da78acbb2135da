"""A trained model that answers waveforms, in the shape of ESPnet's ``Speech2Text``.

speech2text = Speech2Text.from_pretrained("exp/psslm.zip")
text, tokens, token_ids, hypothesis = speech2text(waveform, "EN2DE")[0]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from espnet_psslm.bridge.cut import cut_audio
from espnet_psslm.data.audio import SAMPLE_RATE, check_samples, resample
from espnet_psslm.decode import PSSLMDecoder, Row
from espnet_psslm.inference.outside import TASK, Familiarity
from espnet_psslm.llm.answers import Hypothesis
from espnet_psslm.pack_files import open_pack

Waveform = np.ndarray | torch.Tensor
Result = tuple[str, list[str], list[int], Hypothesis]


@dataclass
class _Window:
    """An acoustic model that is given less at once than it takes."""

    module: torch.nn.Module
    max_duration_s: float

    @property
    def frame_shift_s(self) -> float:
        return self.module.frame_shift_s

    def log_posterior(
        self, speech: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.module.log_posterior(speech, lengths)


class Speech2Text:
    """Answer waveforms of any length.

    Args:
        psslm_train_config: ``config.yaml`` of the training.
        psslm_model_file: its trained parameters.
        asr_train_config: of an acoustic model in place of the one that the configuration names.
        asr_model_file: its checkpoint.
        outside: YAML file of ``bin/calibrate``: hypotheses say whether their recording is outside
            of what the model knows, if it has the task ASR; None: nothing is said.
        options: of ``PSSLMDecoder``: ``device``, ``batch_size``, ``beam_size``,
            ``max_new_tokens``, ``max_len_ratio``, ``nbest``, ``choices``, ...

    Raises:
        ValueError: if a file is missing or does not fit the others.
    """

    def __init__(
        self,
        psslm_train_config: str | Path,
        psslm_model_file: str | Path,
        *,
        asr_train_config: str | Path | None = None,
        asr_model_file: str | Path | None = None,
        outside: str | Path | None = None,
        **options: object,
    ) -> None:
        familiarity = None if outside is None else Familiarity.read(outside)
        if (asr_train_config is None) != (asr_model_file is None):
            raise ValueError("give asr_train_config and asr_model_file together, or neither")
        acoustic = None
        if asr_train_config is not None:
            acoustic = {"train_config": str(asr_train_config), "model_file": str(asr_model_file)}
        self.decoder = PSSLMDecoder(
            psslm_train_config, psslm_model_file, source="audio", acoustic_conf=acoustic, **options
        )
        self.familiarity = familiarity if TASK in self.tasks else None

    @classmethod
    def from_pretrained(
        cls, model_tag: str | Path, *, max_unpacked_gb: float | None = None, **options: object
    ) -> Self:
        """Load a packed model.

        Args:
            model_tag: archive of stage 14, folder of one that is unpacked, or its name on a hub.
            max_unpacked_gb: what an archive may unpack to, or a hub's model have; None: 20 GB, and
                an archive 100 times its own size.
            options: of the constructor; ``outside=None`` leaves out the check that the pack may
                have, which takes a transcript more of each recording.

        Raises:
            ValueError: if it is no packed model, or cannot be loaded.
        """
        files = open_pack(model_tag, max_unpacked_gb=max_unpacked_gb)
        # The acoustic model of the pack is named in the configuration already. Another one is sure
        # of other things: what the pack calls outside does not hold for it.
        if options.get("asr_model_file") is None:
            options = {"outside": files.get("outside")} | options
        return cls(files["psslm_train_config"], files["psslm_model_file"], **options)

    @property
    def tasks(self) -> list[str]:
        """Tasks that the model has prompts for."""
        return list(dict.fromkeys(p.task for p in self.decoder.preprocessor.prompts.prompts))

    def __call__(
        self,
        speech: Waveform | Sequence[Waveform],
        task: str = "ASR",
        *,
        fs: int = SAMPLE_RATE,
        **fields: str,
    ) -> list[Result] | list[list[Result]]:
        """Answer a waveform, or a batch of them.

        Args:
            speech: (N,) in [-1, 1]; or a list of such, of any lengths.
            task: of the prompt file.
            fs: Hz of the waveforms.
            fields: what the task's prompt asks for, e.g. ``hotword="Aachen"``.

        Returns:
            Per waveform its answers, best first: text, tokens, token ids and the hypothesis, which
            says ``outside`` and the ``confidence`` of that where the model can tell. A single
            waveform gives its answers alone.

        Raises:
            ValueError: if a waveform cannot be used, or the task is unknown.
        """
        single = isinstance(speech, np.ndarray | torch.Tensor)
        waveforms = [_waveform(item, fs) for item in ([speech] if single else speech)]
        heard = self.decoder.preprocessor.heard
        rows = [
            {"key": f"waveform {i}", "task": task, "target": "", "path": f"waveform {i}", **fields}
            for i in range(len(waveforms))
        ]
        heard |= {row["path"]: {"speech": w} for row, w in zip(rows, waveforms, strict=True)}
        try:
            nbest = self._answers(rows)
        finally:
            for row in rows:
                heard.pop(row["path"], None)
        results = [[self._result(h) for h in answers] for answers in nbest]
        return results[0] if single else results

    def _answers(self, rows: Sequence[Row]) -> list[list[Hypothesis]]:
        """Answers to each row, judged."""
        if self.familiarity is None:
            return self._decode(rows)
        transcribed = all(row["task"] == TASK for row in rows)
        nbest = transcripts = self._decode(rows, remember=not transcribed)
        if not transcribed:  # the transcript hears the Steps that the answer has heard
            transcripts = self._decode([row | {"task": TASK} for row in rows])
        pairs = zip(nbest, transcripts, strict=True)
        return [self.familiarity.judge(answers, best) for answers, [best, *_] in pairs]

    def _decode(self, rows: Sequence[Row], *, remember: bool = False) -> list[list[Hypothesis]]:
        decoded = self.decoder.decode_usable(rows, remember=remember)
        for key, reason in decoded.skipped.items():
            raise ValueError(f"{key}: {reason}")
        return list(decoded.nbest.values())

    def _result(self, hypothesis: Hypothesis) -> Result:
        ids = list(hypothesis.token_ids)
        tokens = self.decoder.tokenizer.convert_ids_to_tokens(ids)
        return hypothesis.text, tokens, ids, hypothesis

    @torch.no_grad()
    def cut(self, speech: Waveform, *, longest_s: float) -> list[np.ndarray]:
        """Cut a waveform at silences, for subtitles.

        Args:
            speech: (N,), 16 kHz.
            longest_s: no piece is longer; seconds.

        Returns:
            Pieces, which joined are the waveform.

        Raises:
            ValueError: if the acoustic model has no CTC, which hears silences.
        """
        model = self.decoder.model
        acoustic = model.acoustic.module
        if not acoustic.has_ctc:
            raise ValueError("without CTC no silence is found to cut at: the whole is one piece")
        pieces = cut_audio(
            torch.from_numpy(_waveform(speech, SAMPLE_RATE)).to(self.decoder.device),
            _Window(acoustic, min(longest_s, acoustic.max_duration_s)),
            model.reduction,
            fits=lambda steps: torch.ones_like(steps, dtype=torch.bool),
        )
        return [piece.cpu().numpy() for piece in pieces]


def _waveform(speech: Waveform, fs: int) -> np.ndarray:
    """(N,) float32 at 16 kHz.

    Raises:
        ValueError: if it is no such thing.
    """
    samples = speech.detach().cpu().numpy() if isinstance(speech, torch.Tensor) else speech
    if samples.ndim != 1 or not len(samples):
        raise ValueError(
            f"a waveform of shape {samples.shape}: needs (N,), one channel; several are a list"
        )
    if not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(f"a waveform of {samples.dtype}: needs floating point in [-1, 1]")
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    check_samples(samples)
    return samples if fs == SAMPLE_RATE else resample(samples, fs, SAMPLE_RATE)
