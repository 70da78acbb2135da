"""Load a Hugging Face causal language model and its tokenizer: hub name, folder, or GGUF file."""

import fcntl
import hashlib
import logging
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from espnet_psslm.common.cache import cache_folder
from espnet_psslm.common.errors import first_line
from espnet_psslm.weights import resolve_weights


@lru_cache(maxsize=1)  # a system asks for it in several places, and it takes half a second
def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of ``load_language_model(name)``.

    Args:
        name: see there.
        trust_remote_code: run code that lies beside it.

    Raises:
        ValueError: if nothing can be loaded under that name.
    """
    from transformers import AutoTokenizer

    return _load(AutoTokenizer.from_pretrained, name, trust_remote_code=trust_remote_code)


def load_language_model(
    name: str, *, dtype: torch.dtype = torch.float32, trust_remote_code: bool = False
) -> nn.Module:
    """Load a causal language model, frozen and in eval mode.

    Args:
        name: hub name, folder, ``*.gguf`` file, or ``package://module/file``.
        dtype: of its weights.
        trust_remote_code: run code that lies beside the weights. Without it transformers neither
            runs such code nor asks whether it may.

    Raises:
        ValueError: if nothing can be loaded under that name.
    """
    from transformers import AutoModelForCausalLM

    loader = AutoModelForCausalLM.from_pretrained
    model = _load(loader, name, dtype=dtype, trust_remote_code=trust_remote_code)
    return model.requires_grad_(False).eval()


def _load(loader: Any, name: str, **options: Any) -> Any:
    path = resolve_weights(name)
    if path.endswith(".gguf"):
        if not Path(path).is_file():
            raise ValueError(f"language model '{name}': no such GGUF file; check llm_conf.name")
        path = str(dequantise_gguf(Path(path)))
    try:
        return loader(path, **options)
    except Exception as error:  # libraries of its own raise anything for files of other kinds
        if "custom code" in str(error):
            raise ValueError(
                f"language model '{name}' comes with code of its own, which is not run: choose one "
                "that transformers knows; or, when you have read that code, say "
                "--trust_remote_code true (in training llm_conf: {trust_remote_code: true})"
            ) from error
        raise ValueError(
            f"language model '{name}' cannot be loaded: {first_line(error)}; "
            "llm_conf.name takes a hub name, a folder, a .gguf file or package://module/file"
        ) from error


def dequantise_gguf(path: Path) -> Path:
    """Convert a GGUF file once into a folder that loads in a second.

    Reading GGUF takes 15 to 30 seconds per process; the folder is keyed by the file's content
    and is complete or absent, however many processes ask for it at once.

    Args:
        path: the GGUF file.

    Returns:
        A folder with safetensors weights, configuration and tokenizer.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    folder = cache_folder() / f"{path.stem}-{digest}"
    if folder.exists():
        return folder
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            logging.info("Dequantising %s into %s (once)", path.name, folder)
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                unfinished = Path(scratch) / "model"
                _convert_gguf(path, unfinished)
                unfinished.rename(folder)
    return folder


def _convert_gguf(path: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source: dict[str, Any] = {
        "pretrained_model_name_or_path": str(path.parent),
        "gguf_file": path.name,
        "trust_remote_code": False,
    }
    quantised = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # A model that came from GGUF refuses to be saved; its dequantised weights in a model
    # of the plain configuration do not.
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    plain.load_state_dict(quantised.state_dict(), strict=True)
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
