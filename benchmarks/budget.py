"""Memory and time that a setting of ``conf/`` will take, computed from its sizes; nothing is run.

    python benchmarks/budget.py conf/train_psslm.yaml conf/systems/*.yaml

What the figures rest on:

- utterances of ``SECONDS``, answers and prompts of ``TEXT_TOKENS`` tokens; the constant part of a
  prompt is cached and not counted;
- weights: 2 bytes each in a bfloat16 language model, 4 in an acoustic model; trained ones 16
  (weight, gradient, AdamW's two moments, in float32);
- activations kept for the backward pass: a frozen layer keeps what its own gradient needs (inputs
  of norms in float32, queries, keys, values, outputs of attention, three widths of the gated
  layer), LoRA its inputs in float32 with a mask; a trained Whisper layer 34 bytes per width and
  frame, as in mixed precision. Below the lowest trained layer nothing is kept;
- ``RESERVED_GB`` for the CUDA context, workspaces and fragments;
- 2 operations per weight and token forward, 2 backward through frozen layers, 4 through trained
  ones; an A100 does ``FLOPS`` of them a second, a third of its peak in bfloat16; no step is faster
  than ``LAYER_S`` a layer, which starting the kernels of both passes costs;
- hours: the schedule's ``max_steps`` updates (``MAX_EPOCH_STEPS`` where it names none) of
  ``accum_grad`` batches each, times one batch. Neither ``max_epoch`` nor the size of a corpus is
  asked: training ends after its last epoch, be that sooner or later. Reading data, validation and
  saving are not in it;
- decoding (a setting with ``beam_size``): the models of ``DECODED``; keys and values of every beam
  up to ``max_new_tokens``, its logits three times in float32; the longest answer of a batch has
  ``TEXT_TOKENS``, and a layer takes half of ``LAYER_S`` for each of them.

So a figure is good to a factor of about 1.5, not to its last digit.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from espnet_psslm.acoustic.choice import acoustic_choice

SECONDS = 6.0
TEXT_TOKENS = 40
STEPS_PER_S = 4.0  # after phone-synchronous reduction
FLOPS = 100e12
LAYER_S = 2e-3
RESERVED_GB = 2.0
MAX_EPOCH_STEPS = 15000  # where no schedule says how many batches


@dataclass(frozen=True)
class Transformer:
    """Sizes of a language model, or of a Whisper encoder."""

    parameters: float
    layers: int
    width: int
    inner: int
    kv_width: int
    embeddings: float = 0.0  # parameters that multiply nothing

    def kept(self) -> float:
        """Bytes kept per token by the frozen layers of a language model."""
        return self.layers * (12 * self.width + 4 * self.kv_width + 6 * self.inner)

    def kept_by_lora(self) -> float:
        """Bytes more with LoRA on all seven projections."""
        return self.layers * 5 * (6 * self.width + self.inner)


QWEN_0_5B = Transformer(0.494e9, 24, 896, 4864, 128, 0.136e9)
QWEN_1_5B = Transformer(1.544e9, 28, 1536, 8960, 256, 0.233e9)
QWEN_7B = Transformer(7.616e9, 28, 3584, 18944, 512, 0.545e9)
SIZES = {
    "Qwen/Qwen2.5-0.5B-Instruct": QWEN_0_5B,
    "Qwen/Qwen2.5-1.5B-Instruct": QWEN_1_5B,
    "Qwen/Qwen2.5-7B-Instruct": QWEN_7B,
    "openai/whisper-base": Transformer(20.6e6, 6, 512, 2048, 512),
    "openai/whisper-medium": Transformer(307e6, 24, 1024, 4096, 1024),
    "openai/whisper-large-v3": Transformer(637e6, 32, 1280, 5120, 1280),
}
DECODED = ("Qwen/Qwen2.5-1.5B-Instruct", "openai/whisper-medium")  # of conf/train_*.yaml
VOCABULARY = 151_936  # tokens of Qwen2.5
UNITS = {"sensevoice": 25055, "bpe": 2000}


def budget(config: Mapping[str, Any], *, devices: int = 1) -> tuple[float, float]:
    """Compute one setting.

    Args:
        config: contents of the YAML.
        devices: GPUs that share the batch.

    Returns:
        GB on each GPU, and hours.
    """
    memory, operations = (_bridge if "llm_conf" in config else _ctc)(config, devices)
    steps = config.get("scheduler_conf", {}).get("max_steps", MAX_EPOCH_STEPS)
    steps *= config.get("accum_grad", 1)
    name = config.get("llm_conf", config.get("encoder_conf"))["name"]
    seconds = max(operations / FLOPS, LAYER_S * SIZES[name].layers)
    return memory / 1e9 + RESERVED_GB, steps * seconds / 3600


def _ctc(config: Mapping[str, Any], devices: int) -> tuple[float, float]:
    conf = config["encoder_conf"]
    size = SIZES[conf["name"]]
    frozen = len(conf["freeze"]["layers"]) if isinstance(conf["freeze"], dict) else 0
    trained = size.parameters * (1 - frozen / size.layers)
    frames = config["batch_bins"] / 16000 * 50 / devices
    kept = 34 * size.width * (size.layers - frozen) * frames
    operations = frames * (2 * size.parameters + 4 * trained)
    if config.get("model") == "gathered_ctc":
        head = VOCABULARY * size.width  # the widest vocabulary; --unit_restrict makes it smaller
        rows = frames / conf["conv_stride"]
        trained, operations = trained + head, operations + 6 * head * rows
        kept += 4 * VOCABULARY * rows  # one gradient as wide as the vocabulary
    return 4 * size.parameters + 12 * trained + kept, operations


def _bridge(config: Mapping[str, Any], devices: int) -> tuple[float, float]:
    size = SIZES[config["llm_conf"]["name"]]
    rows = config["batch_size"] / devices
    kind, acoustic = acoustic_choice(config)
    whisper = acoustic["name"] if kind == "whisper" else None
    acoustic = SIZES[whisper].parameters if whisper and config["source"] == "audio" else 0.0
    heard = SECONDS * (50 / config["projector_conf"]["k"] if whisper else STEPS_PER_S)
    tokens = rows * (heard + TEXT_TOKENS)
    trained, kept = _projector(config, size), size.kept()
    if config.get("tuning") == "lora":
        rank = config["tuning_conf"]["r"]
        wide = 4 * 2 * size.width + 3 * (size.width + size.inner)
        trained, kept = trained + rank * size.layers * wide, kept + size.kept_by_lora()
    memory = 2 * size.parameters + 4 * acoustic + 16 * trained + kept * tokens
    operations = 4 * (size.parameters - size.embeddings) * tokens
    operations += 2 * acoustic * rows * SECONDS * 50 + 6 * trained * tokens
    return memory, operations


def _projector(config: Mapping[str, Any], size: Transformer) -> float:
    if config["projector"].startswith("lego"):
        return 0.0
    conf = config["projector_conf"]
    kind, acoustic = acoustic_choice(config)
    whisper = acoustic["name"] if kind == "whisper" else None
    width = SIZES[whisper].width * conf["k"] if whisper else UNITS[config.get("token_type", "bpe")]
    return conf["hidden"] * (width + size.width)


def decoding(config: Mapping[str, Any]) -> tuple[float, float]:
    """Compute a setting of decoding: GB, and hours for 1,000 answers."""
    size, acoustic = (SIZES[name] for name in DECODED)
    beams = config["batch_size"] * config["beam_size"]
    cached = SECONDS * STEPS_PER_S + TEXT_TOKENS + config["max_new_tokens"]
    memory = 2 * size.parameters + 4 * acoustic.parameters
    memory += beams * (4 * size.layers * size.kv_width * cached + 3 * 4 * VOCABULARY)
    batch_s = TEXT_TOKENS * size.layers * LAYER_S / 2
    return memory / 1e9 + RESERVED_GB, 1000 / config["batch_size"] * batch_s / 3600


def expected(path: Path) -> str:
    """The line that a setting's head should hold.

    Args:
        path: of the YAML.
    """
    text = path.read_text(encoding="utf-8")
    match = re.search(r"--ngpu (\d+)", text)
    devices = int(match[1]) if match else 1
    config = yaml.safe_load(text)
    answers = " for 1,000 answers" if "beam_size" in config else ""
    memory, hours = decoding(config) if answers else budget(config, devices=devices)
    where = "of memory on each GPU" if devices > 1 else "of GPU memory"
    what = {1: "one A100", 8: "eight A100"}[devices]
    return (
        f"# Expected: {memory:.0f} GB {where}, {hours:.2g} h{answers} on {what} "
        "(computed, benchmarks/budget.py; not run)."
    )


def main(cmd: Sequence[str] | None = None) -> None:
    """Print the line of each setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="+", type=Path, help="YAML files")
    for path in parser.parse_args(cmd).settings:
        print(f"{path}\n{expected(path)}")


if __name__ == "__main__":
    main()
