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
from espnet_psslm.bridge.steps import Steps
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.inference.decoder import PSSLMDecoder
from espnet_psslm.llm.search import Search
from espnet_psslm.llm.splice import splice
from espnet_psslm.model import SpeechLM

WHOLE_PROMPT = "benchmark_whole_prompt"  # name of an attention implementation
MAX_TOKENS = 64
SAME = 0.98  # share of answers: sums in another order decide a few ties differently
Inputs = tuple[Steps, dict[str, Any]]  # and the prompts
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

    def __init__(self, model: SpeechLM) -> None:
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
    steps, prompts = inputs
    single = {name: value[row : row + 1] for name, value in prompts.items()}
    return steps.select(torch.tensor([row], device=steps.lengths.device)), single


@torch.no_grad()
def generate_alone(
    model: SpeechLM, whole: WholePrompt, inputs: Inputs, *, beams: int
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
    for row, prompt in enumerate(inputs[1]["prompt_index"]):
        steps, around = one_row(inputs, row)
        del around["prompt_index"]
        if not int(model.num_heard(steps)):
            answers.append(())
            continue
        context = model.context(steps, **around)
        whole.set_prompt(prompt)
        prefix = torch.tensor([model.prefixes.prefixes[prompt]], device=steps.lengths.device)
        embeddings, _ = splice(context)
        embeddings = torch.cat([whole.lm.get_input_embeddings()(prefix), embeddings], 1)
        ids = whole.lm.generate(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long).to(prefix.device),
            generation_config=config,
        )[0].tolist()
        answers.append(tuple(ids[: ids.index(model.end_id)] if model.end_id in ids else ids))
    return answers


def generate_batch(model: SpeechLM, inputs: Inputs, *, beams: int) -> list[Answer]:
    """Ours."""
    steps, prompts = inputs
    answers = model.answer(steps, Search(beams, max_new_tokens=MAX_TOKENS), **prompts)
    return [best.token_ids for best, *_ in answers]


def read_batches(decoder: PSSLMDecoder, manifest: Path, size: Size) -> list[Inputs]:
    """Some rows of a manifest, evenly spread, sorted by length, with their Steps."""
    rows = list(read_manifest(manifest).values())
    step = max(1, math.ceil(len(rows) / size.rows))
    samples = decoder.listener(decoder.reader.read(rows[::step], {}))
    samples.sort(key=lambda sample: sample.heard.num_steps, reverse=True)
    return [
        decoder.answerer.inputs(
            [sample.question for sample in samples[start : start + size.batch]],
            [sample.heard.steps for sample in samples[start : start + size.batch]],
        )
        for start in range(0, len(samples), size.batch)
    ]


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


def make_case(model: SpeechLM, batches: Sequence[Inputs], size: Size) -> Case:
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

    count = sum(len(prompts["prompt_index"]) for _, prompts in batches)
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
