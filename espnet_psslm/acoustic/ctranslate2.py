"""Read the Whisper encoder out of a CTranslate2 folder, the format of faster-whisper's models.

``model.bin`` is a header (version, name and revision of the specification), then the variables:
name, shape, type, bytes. The encoder's variables map one to one onto transformers' names, but
for the query, key and value projections, which CTranslate2 keeps in one matrix.
"""

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from transformers import WhisperConfig

MODEL_FILE = "model.bin"
_DTYPES = {0: np.dtype("<f4"), 3: np.dtype("<i4"), 4: np.dtype("<f2"), 5: np.dtype("<u2")}
_BFLOAT16 = 5
_QUANTISED = {1: "int8", 2: "int16"}

_FRONT = {
    "conv1/weight": "conv1.weight",
    "conv1/bias": "conv1.bias",
    "conv2/weight": "conv2.weight",
    "conv2/bias": "conv2.bias",
    "position_encodings/encodings": "embed_positions.weight",
    "layer_norm/gamma": "layer_norm.weight",
    "layer_norm/beta": "layer_norm.bias",
}
_LAYER = {
    "self_attention/layer_norm/gamma": "self_attn_layer_norm.weight",
    "self_attention/layer_norm/beta": "self_attn_layer_norm.bias",
    "self_attention/linear_1/weight": "self_attn.out_proj.weight",
    "self_attention/linear_1/bias": "self_attn.out_proj.bias",
    "ffn/layer_norm/gamma": "final_layer_norm.weight",
    "ffn/layer_norm/beta": "final_layer_norm.bias",
    "ffn/linear_0/weight": "fc1.weight",
    "ffn/linear_0/bias": "fc1.bias",
    "ffn/linear_1/weight": "fc2.weight",
    "ffn/linear_1/bias": "fc2.bias",
}


def is_ctranslate2_folder(folder: str | Path) -> bool:
    """Whether ``folder`` holds CTranslate2's ``model.bin`` (and no transformers model)."""
    folder = Path(folder)
    return (folder / MODEL_FILE).is_file() and not list(folder.glob("*.safetensors"))


def read_encoder(folder: str | Path) -> tuple[WhisperConfig, dict[str, Tensor]]:
    """Read configuration and weights of the encoder.

    Args:
        folder: holds ``model.bin`` in float32, float16 or bfloat16.

    Returns:
        The configuration (encoder side), and a state dict of transformers' ``WhisperEncoder``,
        float32.

    Raises:
        ValueError: if the file is truncated, quantised, no Whisper model, or lacks a variable.
    """
    path = Path(folder) / MODEL_FILE
    try:
        with path.open("rb") as file:
            variables = _read_variables(file, path, prefix="encoder/")
    except struct.error as error:
        raise ValueError(f"{path}: truncated, or not a CTranslate2 model ({error})") from error
    state: dict[str, Tensor] = {}
    try:
        heads = int(variables.pop("num_heads"))
        for theirs, ours in _FRONT.items():
            state[ours] = variables.pop(theirs)
        num_layers = 0
        while f"layer_{num_layers}/ffn/linear_0/weight" in variables:
            _move_layer(variables, state, num_layers)
            num_layers += 1
    except KeyError as error:
        raise ValueError(f"{path}: has no variable 'encoder/{error.args[0]}'") from error
    if variables or not num_layers:
        raise ValueError(f"{path}: {num_layers} layers, unknown variables {sorted(variables)[:5]}")
    width, num_mels, _ = state["conv1.weight"].shape
    config = WhisperConfig(
        d_model=width,
        num_mel_bins=num_mels,
        encoder_layers=num_layers,
        encoder_attention_heads=heads,
        encoder_ffn_dim=state["layers.0.fc1.weight"].shape[0],
        max_source_positions=state["embed_positions.weight"].shape[0],
    )
    return config, state


def _move_layer(variables: dict[str, Tensor], state: dict[str, Tensor], layer: int) -> None:
    """Move one layer's variables into ``state`` under transformers' names."""
    for theirs, ours in _LAYER.items():
        state[f"layers.{layer}.{ours}"] = variables.pop(f"layer_{layer}/{theirs}")
    fused = f"layer_{layer}/self_attention/linear_0"
    weights = variables.pop(f"{fused}/weight").chunk(3)
    biases = variables.pop(f"{fused}/bias").chunk(3)
    for name, weight, bias in zip(("q_proj", "k_proj", "v_proj"), weights, biases, strict=True):
        state[f"layers.{layer}.self_attn.{name}.weight"] = weight.clone()
        if name != "k_proj":
            state[f"layers.{layer}.self_attn.{name}.bias"] = bias.clone()
        elif bias.any():
            raise ValueError(f"encoder/{fused}: Whisper's keys have no bias, this file has one")


def _read_variables(file: BinaryIO, path: Path, *, prefix: str) -> dict[str, Tensor]:
    """Read the variables whose name starts with ``prefix``; skip the others."""
    (version,) = struct.unpack("<I", file.read(4))
    if not 4 <= version <= 6:
        raise ValueError(f"{path}: CTranslate2 file version {version}; 4 to 6 are known")
    specification = _read_string(file)
    if specification != "WhisperSpec":
        raise ValueError(f"{path}: holds a {specification[:40]!r}; a WhisperSpec is needed")
    _revision, count = struct.unpack("<II", file.read(8))
    variables: dict[str, Tensor] = {}
    for _ in range(count):
        name = _read_string(file)
        (rank,) = struct.unpack("<B", file.read(1))
        shape = struct.unpack(f"<{rank}I", file.read(4 * rank))
        dtype_id, num_bytes = struct.unpack("<BI", file.read(5))
        if not name.startswith(prefix):
            file.seek(num_bytes, 1)
            continue
        data = file.read(num_bytes)
        if len(data) < num_bytes:
            raise ValueError(f"{path}: truncated inside '{name}'; download it again")
        variables[name.removeprefix(prefix)] = _to_tensor(data, dtype_id, shape, name, path)
    return variables


def _to_tensor(data: bytes, dtype_id: int, shape: tuple[int, ...], name: str, path: Path) -> Tensor:
    if not shape:
        # A scalar setting: an integer of one or two bytes.
        return torch.tensor(int.from_bytes(data, "little"))
    if dtype_id not in _DTYPES:
        raise ValueError(
            f"{path}: '{name}' is {_QUANTISED.get(dtype_id, f'of type {dtype_id}')}; "
            "convert the model with --quantization float16 or float32"
        )
    array = np.frombuffer(data, dtype=_DTYPES[dtype_id]).reshape(shape)
    if dtype_id == _BFLOAT16:
        array = (array.astype("<u4") << 16).view("<f4")
    return torch.from_numpy(array.astype(np.float32))


def _read_string(file: BinaryIO) -> str:
    """A length, then characters that end in a zero byte."""
    (length,) = struct.unpack("<H", file.read(2))
    return file.read(length).rstrip(b"\0").decode("utf-8", errors="replace")
