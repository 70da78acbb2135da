"""CTranslate2's file format, written by hand."""

import struct
from collections.abc import Mapping

import numpy as np

FLOAT32, INT8, FLOAT16 = 0, 1, 4
TYPES = {np.dtype(np.float32): FLOAT32, np.dtype(np.float16): FLOAT16, np.dtype(np.int8): INT8}


def to_string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def to_variable(name: str, array: np.ndarray, dtype_id: int) -> bytes:
    shape = struct.pack(f"<{array.ndim}I", *array.shape)
    head = to_string(name) + struct.pack("<B", array.ndim) + shape
    return head + struct.pack("<BI", dtype_id, array.nbytes) + array.tobytes()


def to_model(
    variables: Mapping[str, np.ndarray], *, spec: str = "WhisperSpec", version: int = 6
) -> bytes:
    """The content of ``model.bin``."""
    body = [to_variable(n, a, TYPES.get(a.dtype, 2)) for n, a in variables.items()]
    head = struct.pack("<I", version) + to_string(spec) + struct.pack("<II", 3, len(body))
    return head + b"".join(body) + struct.pack("<I", 0)
