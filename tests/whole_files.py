"""Small whole files of each kind that is read byte by byte, to be broken."""

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import soundfile
import torch
import yaml

from espnet_psslm.acoustic.ctranslate2 import _FRONT, _LAYER
from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps
from espnet_psslm.bridge.steps_file import StepsWriter
from tests.ctranslate2_files import to_model

RATE = 16000
NUM_UNITS = 5
META = {
    "files": {"psslm_model_file": "psslm/model.pth"},
    "yaml_files": {"psslm_train_config": "psslm/config.yaml"},
}
MADE = {"step_kind": "posterior", "reduction": "drop_then_merge", "blank_threshold": 0.5}
CONFIG = {"bpemodel": "units/bpe.model", "token_list": ["<blank>", "a", "<sos/eos>"]}


def tone(num_samples: int = 160) -> np.ndarray:
    """(N,) float32."""
    return (0.5 * np.sin(2 * np.pi * 300 * np.arange(num_samples) / RATE)).astype(np.float32)


def encoded(kind: str, samples: np.ndarray | None = None, **options: str) -> bytes:
    """A sound file."""
    stream = io.BytesIO()
    soundfile.write(stream, tone() if samples is None else samples, RATE, format=kind, **options)
    return stream.getvalue()


def contained(data: bytes, length: int | None = None) -> bytes:
    """kaldiio's container: width of the length, length, file."""
    length = len(data) if length is None else length
    return b"AUDIO" + struct.pack("<BQ", 8, length) + data


def ark_entries() -> list[bytes]:
    """Recordings as archives hold them, behind the key."""
    plain = [encoded("WAV"), encoded("WAV", subtype="PCM_U8"), encoded("FLAC")]
    both = encoded("WAV", np.stack([tone(), -tone()], axis=1))
    inside = [encoded("WAV"), encoded("WAV", subtype="FLOAT"), encoded("FLAC")]
    return [*plain, both, *(contained(data) for data in inside)]


def steps_of_units(unit_ids: list[list[int]], probs: list[list[float]]) -> PosteriorSteps:
    """One utterance with a step a row, two frames each."""
    ids = torch.tensor([unit_ids]).reshape(1, len(unit_ids), -1)
    starts = 2 * torch.arange(len(unit_ids))[None]
    return PosteriorSteps(
        ids,
        torch.tensor([probs]).reshape(ids.shape),
        torch.tensor([len(unit_ids)]),
        NUM_UNITS,
        starts,
        starts + 2,
    )


def arks(folder: Path) -> list[bytes]:
    """Posterior and feature Steps, an utterance each, behind what says how they were made."""
    starts = torch.arange(3)[None]
    values = torch.arange(12.0).reshape(1, 3, 4)
    kinds = (
        steps_of_units([[1, 0], [2, 4]], [[0.75, 0.25], [0.5, 0.125]]),
        FeatureSteps(values, torch.tensor([3]), starts, starts + 1),
    )
    written = []
    for number, steps in enumerate(kinds):
        with StepsWriter(folder / f"{number}.ark", MADE) as writer:
            writer.write_batch(["utt"], steps)
        written.append(writer.path.read_bytes())
    return written


def steps_records(folder: Path) -> list[bytes]:
    """The utterances of these arks alone: dumps did not always say how they were made."""
    return [ark[ark.index(np.lib.format.MAGIC_PREFIX, 1) :] for ark in arks(folder)]


def ctranslate2_model() -> bytes:
    """A Whisper encoder of one layer, width 2, and a variable of its decoder."""
    width, mels, positions, inner = 2, 3, 4, 5
    shapes = {
        "conv1/weight": (width, mels, 3),
        "conv2/weight": (width, width, 3),
        "position_encodings/encodings": (positions, width),
        "self_attention/linear_1/weight": (width, width),
        "ffn/linear_0/weight": (inner, width),
        "ffn/linear_0/bias": (inner,),
        "ffn/linear_1/weight": (width, inner),
    }
    names = {f"encoder/{name}": name for name in _FRONT}
    names |= {f"encoder/layer_0/{name}": name for name in _LAYER}
    variables = {
        name: np.ones(shapes.get(last, (width,)), np.float32) for name, last in names.items()
    }
    fused = "encoder/layer_0/self_attention/linear_0"
    variables[f"{fused}/weight"] = np.ones((3 * width, width), np.float16)
    variables[f"{fused}/bias"] = np.repeat([1.0, 0.0, 1.0], width).astype(np.float32)
    variables["encoder/num_heads"] = np.array(1, dtype=np.int16)
    variables["decoder/ignored"] = np.ones((2, 3), dtype=np.float32)
    return to_model(variables)


def pack_members(meta: str | None = None, config: str | None = None) -> dict[str, bytes]:
    """What a pack holds, by name."""
    return {
        "meta.yaml": (yaml.safe_dump(META) if meta is None else meta).encode(),
        "psslm/config.yaml": (yaml.safe_dump(CONFIG) if config is None else config).encode(),
        "psslm/model.pth": b"weights",
        "units/bpe.model": b"pieces",
    }


def as_zip(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive, always the same."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return stream.getvalue()


def as_tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    """An archive, always the same but for the time that gzip notes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()
