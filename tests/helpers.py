"""Builders of tiny models and vocabularies; nothing is downloaded and all is random but seeded."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from transformers import WhisperConfig

SENTENCES = (
    "turn on the light in the kitchen",
    "turn off the lamp in the bedroom",
    "play some music by the band",
    "set an alarm for seven in the morning",
    "what is the weather like in paris",
    "add milk and bread to my shopping list",
    "remind me to call the doctor at noon",
    "make the room a little warmer please",
)
PROMPTS = (
    {"task": "ASR", "prompt": "Transcribe the speech to text."},
    {"task": "ASR", "prompt": "Write down what is said:"},
    {"task": "SLU_scenario", "prompt": "Which scenario does the request belong to?"},
    {"task": "hotword", "prompt": "Transcribe. Words that may occur: {}."},
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
END = "<|im_end|>"


def build_tokenizer() -> Any:
    """A byte-level BPE tokenizer with ChatML template; no text is unknown to it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|im_start|>", END],
        show_progress=False,
    )
    tokenizer.train_from_iterator([*SENTENCES, *(p["prompt"] for p in PROMPTS)], trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)
    wrapped.chat_template = CHATML
    return wrapped


def build_lm(
    vocab_size: int,
    *,
    seed: int = 0,
    architecture: str = "llama",
    sliding_window: int | None = None,
) -> Any:
    """A random two-layer language model of width 32, frozen, in eval mode."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    window = {"sliding_window": sliding_window} if sliding_window else {}
    config = AutoConfig.for_model(
        architecture,
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.3,  # answers that differ from sample to sample
        bos_token_id=0,
        eos_token_id=1,
        **window,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    return model.requires_grad_(False).eval()


def save_language_model(folder: Path) -> Path:
    """Save tokenizer and random language model as ``from_pretrained`` wants them."""
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(folder)
    build_lm(len(tokenizer)).save_pretrained(folder)
    return folder


def save_units(folder: Path, *, vocab_size: int = 50) -> Path:
    """Train ``tokens.txt`` and ``bpe.model`` on the sentences."""
    from espnet_psslm.bin.train_units import train_units

    train_units(SENTENCES, vocab_size=vocab_size, model_type="unigram", output_dir=folder)
    return folder


def save_simulator(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """A random network over a configuration's units, as ``simulator_train`` leaves it.

    Returns:
        Options of ``simulator: learned``.
    """
    from argparse import Namespace

    import torch
    import yaml

    from espnet_psslm.training.simulator import SimulatorTask

    saved = SimulatorTask.get_default_config()
    saved |= {name: config.get(name) for name in ("token_type", "token_list", "bpemodel")}
    saved |= {"network_conf": {"width": 16, "layers": 1, "heads": 2, "hidden": 16}}
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(saved), encoding="utf-8")
    model = SimulatorTask.build_model(Namespace(**saved))
    torch.save(model.state_dict(), folder / "model.pth")
    return {"train_config": f"{folder}/config.yaml", "model_file": f"{folder}/model.pth"}


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write JSON Lines."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def text_rows(task: str = "ASR") -> list[dict[str, str]]:
    """Rows of a manifest without audio, one per sentence."""
    return [
        {"key": f"utt{i}-{task}", "task": task, "target": sentence, "GT": sentence}
        for i, sentence in enumerate(SENTENCES)
    ]


def tiny_whisper_config(max_frames: int) -> "WhisperConfig":
    """Three encoder layers of width 32 over 80 mel and ``max_frames`` positions."""
    from transformers import WhisperConfig

    return WhisperConfig(
        vocab_size=60,
        num_mel_bins=80,
        d_model=32,
        encoder_layers=3,
        encoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=48,
        max_source_positions=max_frames,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )


def run_and_fail(
    main: Callable[[Sequence[str]], object], command: Sequence[str], capsys: pytest.CaptureFixture
) -> str:
    """Run a command that must end with exit code 1; return its one line of error."""
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 1
    return capsys.readouterr().err.strip().splitlines()[-1]


def record_stages(encoder: Any) -> list[Any]:
    """What goes into and comes out of every layer and the last norm of a Whisper encoder.

    The list fills when the encoder runs: two tensors a layer, two of the norm.
    """
    stages: list[Any] = []
    for module in [*encoder.layers, encoder.layer_norm]:
        module.register_forward_hook(lambda _m, args, out: stages.extend([args[0], out]))
    return stages
