"""A trained model that answers waveforms, in the shape of ESPnet's ``Speech2Text``.

speech2text = Speech2Text.from_pretrained("exp/psslm.zip")
text, tokens, token_ids, hypothesis = speech2text(waveform, "EN2DE")[0]
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch

from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.data.audio import check_samples, resample
from espnet_psslm.inference.decoder import PSSLMDecoder
from espnet_psslm.inference.listening import Sample
from espnet_psslm.inference.long_audio import cut
from espnet_psslm.inference.outside import TASK, Familiarity
from espnet_psslm.llm.answers import Hypothesis
from espnet_psslm.pack_files import open_pack

Waveform = np.ndarray | torch.Tensor
Result = tuple[str, list[str], list[int], Hypothesis]
Subtitle = tuple[float, float, Hypothesis]  # from and to in seconds, and the best answer


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
        return self.decoder.answerer.prompts.tasks

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
        heard = self._hear(waveforms, task, fields)
        results = [[self._result(h) for h in answers] for answers in self._answers(heard, fields)]
        return results[0] if single else results

    def subtitles(
        self, speech: Waveform, task: str = "ASR", *, longest_s: float, **fields: str
    ) -> list[Subtitle]:
        """Answer a waveform piece by piece; it is cut at silences.

        Args:
            speech: (N,), 16 kHz, in [-1, 1].
            task: of the prompt file.
            longest_s: no piece is longer; seconds.
            fields: what the task's prompt asks for.

        Returns:
            Pieces behind each other, which together are the waveform.

        Raises:
            ValueError: if it cannot be used, or the acoustic model has no CTC, which hears
                silences.
        """
        waveform = _waveform(speech, SAMPLE_RATE)
        [whole] = self._hear([waveform], task, fields)
        recording = whole.heard
        if recording.blank is None:
            raise ValueError("without CTC no silence is found to cut at: the whole is one piece")
        shift_s = recording.frame_shift_s
        spans = cut(
            recording,
            fits=lambda steps: torch.ones_like(steps, dtype=torch.bool),
            longest=int(longest_s / shift_s),
        )
        pieces = [
            replace(whole, key=f"{whole.key}, piece {number}", heard=recording.piece(*span))
            for number, span in enumerate(spans)
        ]
        starts = [first * shift_s for first, _ in spans]
        ends = [*starts[1:], len(waveform) / SAMPLE_RATE]  # which may lie within a frame
        best = [answers[0] for answers in self._answers(pieces, fields)]
        return list(zip(starts, ends, best, strict=True))

    def _hear(
        self, waveforms: Sequence[np.ndarray], task: str, fields: dict[str, str]
    ) -> list[Sample]:
        """Samples that were heard."""
        reader = self.decoder.reader
        rows = [{"key": f"waveform {i}", "task": task, **fields} for i in range(len(waveforms))]
        samples = [
            reader.sample(row, waveform) for row, waveform in zip(rows, waveforms, strict=True)
        ]
        return self.decoder.listener(samples)

    def _answers(self, samples: Sequence[Sample], fields: dict[str, str]) -> list[list[Hypothesis]]:
        """Answers to each sample that was heard, judged."""
        nbest = transcripts = self.decoder.answer(samples)
        if self.familiarity is None:
            return nbest
        if any(sample.question.task != TASK for sample in samples):
            # The transcript hears the Steps that the answer has heard.
            question = self.decoder.answerer.question(TASK, fields)
            transcripts = self.decoder.answer([replace(s, question=question) for s in samples])
        pairs = zip(nbest, transcripts, strict=True)
        return [self.familiarity.judge(answers, best) for answers, [best, *_] in pairs]

    def _result(self, hypothesis: Hypothesis) -> Result:
        ids = list(hypothesis.token_ids)
        tokens = self.decoder.answerer.tokenizer.convert_ids_to_tokens(ids)
        return hypothesis.text, tokens, ids, hypothesis


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
