"""Read the Whisper encoder out of a CTranslate2 folder, the format of faster-whisper's models.

``model.bin`` is a header (version, name and revision of the specification), then the variables:
name, shape, type, bytes. The encoder's variables map one to one onto transformers' names, but
for the query, key and value projections, which CTranslate2 keeps in one matrix.
"""

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

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
        OSError: if the file cannot be read.
        ValueError: naming the file, if it is truncated, quantised, no Whisper model, lacks a
            variable, or has one whose shape does not go with the others.
    """
    path = Path(folder) / MODEL_FILE
    try:
        with path.open("rb") as file:
            variables = _read_variables(_Whole(file), prefix="encoder/")
        return _to_encoder(variables)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _to_encoder(variables: dict[str, Tensor]) -> tuple[WhisperConfig, dict[str, Tensor]]:
    """Configuration and state dict of CTranslate2's variables, which are used up."""
    state: dict[str, Tensor] = {}
    try:
        heads = variables.pop("num_heads")
        for theirs, ours in _FRONT.items():
            state[ours] = variables.pop(theirs)
        num_layers = 0
        while f"layer_{num_layers}/ffn/linear_0/weight" in variables:
            _move_layer(variables, state, num_layers)
            num_layers += 1
    except KeyError as error:
        raise ValueError(f"has no variable 'encoder/{error.args[0]}'") from error
    if variables or not num_layers:
        raise ValueError(f"{num_layers} layers, unknown variables {sorted(variables)[:5]}")
    config = WhisperConfig(
        d_model=_size(state, "conv1.weight", 0),
        num_mel_bins=_size(state, "conv1.weight", 1),
        encoder_layers=num_layers,
        encoder_attention_heads=int(heads) if heads.dim() == 0 else 0,
        encoder_ffn_dim=_size(state, "layers.0.fc1.weight", 0),
        max_source_positions=_size(state, "embed_positions.weight", 0),
    )
    _check_shapes(config, state)
    return config, state


def _size(state: dict[str, Tensor], name: str, axis: int) -> int:
    shape = state[name].shape
    if axis >= len(shape):
        raise ValueError(f"{name} has the shape {tuple(shape)}")
    return shape[axis]


def _check_shapes(config: WhisperConfig, state: dict[str, Tensor]) -> None:
    """Compare with what the encoder of this configuration has, without building its weights."""
    heads = config.encoder_attention_heads
    if not 0 < heads <= config.d_model or config.d_model % heads:
        raise ValueError(f"{heads} attention heads do not go with a width of {config.d_model}")
    with torch.device("meta"):
        needed = WhisperEncoder(config).state_dict()
    for name, value in needed.items():
        if state[name].shape != value.shape:
            raise ValueError(
                f"{name} has the shape {tuple(state[name].shape)}, {tuple(value.shape)} is needed"
            )


def _move_layer(variables: dict[str, Tensor], state: dict[str, Tensor], layer: int) -> None:
    """Move one layer's variables into ``state`` under transformers' names."""
    for theirs, ours in _LAYER.items():
        state[f"layers.{layer}.{ours}"] = variables.pop(f"layer_{layer}/{theirs}")
    fused = f"layer_{layer}/self_attention/linear_0"
    weights = _three(variables.pop(f"{fused}/weight"), f"{fused}/weight")
    biases = _three(variables.pop(f"{fused}/bias"), f"{fused}/bias")
    for name, weight, bias in zip(("q_proj", "k_proj", "v_proj"), weights, biases, strict=True):
        state[f"layers.{layer}.self_attn.{name}.weight"] = weight.clone()
        if name != "k_proj":
            state[f"layers.{layer}.self_attn.{name}.bias"] = bias.clone()
        elif bias.any():
            raise ValueError(f"encoder/{fused}: Whisper's keys have no bias, this file has one")


def _three(fused: Tensor, name: str) -> tuple[Tensor, ...]:
    if not fused.dim() or len(fused) % 3 or not len(fused):
        raise ValueError(f"'encoder/{name}' has the shape {tuple(fused.shape)}, not three parts")
    return fused.chunk(3)


class _Whole:
    """A file of which one gets as many bytes as one asks for.

    Args:
        file: open, at its beginning.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.left = os.fstat(file.fileno()).st_size

    def read(self, count: int) -> bytes:
        self._count(count)
        return self.file.read(count)

    def skip(self, count: int) -> None:
        self._count(count)
        self.file.seek(count, os.SEEK_CUR)

    def numbers(self, form: str) -> tuple[int, ...]:
        """Little-endian, as ``struct`` writes their kinds."""
        return struct.unpack(f"<{form}", self.read(struct.calcsize(f"<{form}")))

    def string(self) -> str:
        """A length, then characters that end in a zero byte."""
        (length,) = self.numbers("H")
        return self.read(length).rstrip(b"\0").decode("utf-8", errors="replace")

    def _count(self, count: int) -> None:
        # Before memory is set aside for a size that makes no sense.
        if count > self.left:
            raise ValueError(
                f"truncated, {self.left} of {count} bytes are there, or not a CTranslate2 model; "
                "download it again"
            )
        self.left -= count


def _read_variables(file: _Whole, *, prefix: str) -> dict[str, Tensor]:
    """Read the variables whose name starts with ``prefix``; skip the others."""
    (version,) = file.numbers("I")
    if not 4 <= version <= 6:
        raise ValueError(f"CTranslate2 file version {version}; 4 to 6 are known")
    specification = file.string()
    if specification != "WhisperSpec":
        raise ValueError(f"holds a {specification[:40]!r}; a WhisperSpec is needed")
    _revision, count = file.numbers("II")
    variables: dict[str, Tensor] = {}
    for _ in range(count):
        name = file.string()
        (rank,) = file.numbers("B")
        shape = file.numbers(f"{rank}I")
        dtype_id, num_bytes = file.numbers("BI")
        if name.startswith(prefix):
            data = file.read(num_bytes)
            variables[name.removeprefix(prefix)] = _to_tensor(data, dtype_id, shape, name)
        else:
            file.skip(num_bytes)
    return variables


def _to_tensor(data: bytes, dtype_id: int, shape: tuple[int, ...], name: str) -> Tensor:
    if not shape and len(data) <= 2:
        # A scalar setting: an integer of one or two bytes.
        return torch.tensor(int.from_bytes(data, "little"))
    if dtype_id not in _DTYPES:
        raise ValueError(
            f"{name!r} is {_QUANTISED.get(dtype_id, f'of type {dtype_id}')}; "
            "convert the model with --quantization float16 or float32"
        )
    dtype = _DTYPES[dtype_id]
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name!r} of shape {shape} and type {dtype} has {len(data)} bytes")
    array = np.frombuffer(data, dtype=dtype).reshape(shape)
    if dtype_id == _BFLOAT16:
        array = (array.astype("<u4") << 16).view("<f4")
    return torch.from_numpy(array.astype(np.float32))
