"""Row ``decode``: answers by beam search, Steps given, with the bridge of a finished recipe.

generate: transformers' ``generate`` with its cache of keys and values,
one utterance at a time, behind the whole prompt. Where the recipe has trained the ends of its
prompts, the baseline's cache gets them too, so that both give the same answers.

Both compute in float32. Reading and hearing audio is not counted.
"""

import contextlib
import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, GenerationConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from benchmarks.measure import Case, Setting
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.decode import PSSLMDecoder
from espnet_psslm.llm.model import PSSLMModel
from espnet_psslm.llm.splice import splice

WHOLE_PROMPT = "benchmark_whole_prompt"  # name of an attention implementation
MAX_TOKENS = 64
SAME = 0.98  # share of answers: sums in another order decide a few ties differently
Inputs = dict[str, Any]
Answer = tuple[int, ...]


@dataclass(frozen=True)
class Size:
    """One size of the row."""

    rows: int
    batch: int = 16
    beams: int = 4
    target: float | None = None


FULL = Size(48, target=4.0)
QUICK = Size(16)


class WholePrompt:
    """Attention of the baseline: SDPA, the prompt's keys and values as training left them.

    Args:
        model: whose prefixes are used.
    """

    def __init__(self, model: PSSLMModel) -> None:
        self.prefixes = model.prefixes
        self.lm = copy.deepcopy(model.lm.module)
        self.states: Sequence[tuple[Tensor, Tensor]] = ()
        AttentionInterface.register(WHOLE_PROMPT, self._attend)
        AttentionMaskInterface.register(WHOLE_PROMPT, sdpa_mask)
        self.lm.set_attn_implementation(WHOLE_PROMPT)

    def set_prompt(self, prompt: int) -> None:
        """Which prompt the next sequence begins with."""
        self.prefixes.fill(self.lm, [prompt])
        self.states = self.prefixes.states_of(prompt)

    def _attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **named: Any
    ) -> tuple[Tensor, None]:
        if query.shape[2] > 1:  # the prompt is read; these are the cache's own tensors
            for read, trained in zip((key, value), self.states[module.layer_idx], strict=True):
                read[:, :, : trained.shape[2]] = trained
        return sdpa_attention_forward(module, query, key, value, *args, **named)


def one_row(inputs: Inputs, row: int) -> Inputs:
    """One sample of a batch."""
    single = {
        name: value[row : row + 1] if isinstance(value, Tensor) else value
        for name, value in inputs.items()
    }
    return single | {"prompt_index": [inputs["prompt_index"][row]]}


@torch.no_grad()
def generate_alone(
    model: PSSLMModel, whole: WholePrompt, inputs: Inputs, *, beams: int
) -> list[Answer]:
    """transformers' ``generate`` behind the whole prompt, one sample after the other."""
    config = GenerationConfig(
        num_beams=beams,
        max_new_tokens=MAX_TOKENS,
        length_penalty=0.0,  # sums of log probabilities, as ours
        do_sample=False,
        eos_token_id=model.end_id,
        pad_token_id=model.pad_id,
    )
    answers = []
    for row, prompt in enumerate(inputs["prompt_index"]):
        context, _, num_steps = model.context(**one_row(inputs, row))
        if not int(num_steps):
            answers.append(())
            continue
        whole.set_prompt(prompt)
        prefix = torch.tensor([model.prefixes.prefixes[prompt]], device=num_steps.device)
        embeddings, _ = splice(context)
        embeddings = torch.cat([whole.lm.get_input_embeddings()(prefix), embeddings], 1)
        ids = whole.lm.generate(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long).to(prefix.device),
            generation_config=config,
        )[0].tolist()
        answers.append(tuple(ids[: ids.index(model.end_id)] if model.end_id in ids else ids))
    return answers


def generate_batch(model: PSSLMModel, inputs: Inputs, *, beams: int) -> list[Answer]:
    """Ours."""
    answers = model.generate(beam_size=beams, max_new_tokens=MAX_TOKENS, **inputs)
    return [ids for ids, _ in answers]


def read_batches(decoder: PSSLMDecoder, manifest: Path, size: Size) -> list[Inputs]:
    """Some rows of a manifest, evenly spread, sorted by length, with their Steps."""
    rows = list(read_manifest(manifest).values())
    step = max(1, math.ceil(len(rows) / size.rows))
    samples = [
        (row["key"], decoder.preprocessor(row["key"], {"sample": row})) for row in rows[::step]
    ]
    samples.sort(key=lambda item: len(item[1]["speech"]), reverse=True)
    batches = []
    for start in range(0, len(samples), size.batch):
        _, batch = decoder.collate(samples[start : start + size.batch])
        inputs = {
            name: value.to(decoder.device) if isinstance(value, Tensor) else value
            for name, value in batch.items()
            if not name.startswith("target_ids")
        }
        names = ("speech", "speech_lengths", "speech_rows")
        audio = {name: inputs.pop(name) for name in names}
        with torch.no_grad():
            steps = decoder.model.steps(**audio, num_units=inputs["num_units"])
        batches.append(inputs | steps.inputs())
    return batches


def load(recipe: Path, setting: Setting, size: Size) -> PSSLMDecoder:
    """The text-only bridge of a finished recipe, in float32."""
    decoder = PSSLMDecoder(
        recipe / "exp/psslm_text/config.yaml",
        recipe / "exp/psslm_text/valid.acc.ave.pth",
        device=str(setting.device),
        source="audio",
        batch_size=size.batch,
    )
    decoder.model.lm.module.float()
    return decoder


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row; paths of a recipe start at its folder."""
    if sizes is None:
        sizes = (QUICK,) if setting.quick else (FULL,)
    with contextlib.chdir(setting.recipe):
        for size in sizes:
            decoder = load(setting.recipe, setting, size)
            batches = read_batches(decoder, setting.recipe / "dump/raw/test/psslm.jsonl", size)
            yield make_case(decoder.model, batches, size)


def make_case(model: PSSLMModel, batches: Sequence[Inputs], size: Size) -> Case:
    """A case of batches whose Steps are known."""
    whole = WholePrompt(model)

    def run_ours(some: Sequence[Inputs]) -> list[list[Answer]]:
        return [generate_batch(model, inputs, beams=size.beams) for inputs in some]

    def run_alone(some: Sequence[Inputs]) -> list[list[Answer]]:
        return [generate_alone(model, whole, inputs, beams=size.beams) for inputs in some]

    def check() -> None:
        pairs = [
            pair
            for batch in zip(run_ours(batches), run_alone(batches), strict=True)
            for pair in zip(*batch, strict=True)
        ]
        same = sum(ours == alone for ours, alone in pairs)
        assert same >= SAME * len(pairs), f"{same} of {len(pairs)} answers are the same"

    count = sum(len(inputs["prompt_index"]) for inputs in batches)
    return Case(
        row="decode",
        size=f"{count} utterances, beam {size.beams}, batch {size.batch}",
        ways={"ours": lambda: run_ours(batches), "generate": lambda: run_alone(batches)},
        target=size.target,
        items=count,
        unit="utterances",
        check=check,
        probes={
            "ours": lambda: run_ours(batches[:1]),
            "generate": lambda: run_alone([one_row(batches[0], 0)]),
        },
    )
