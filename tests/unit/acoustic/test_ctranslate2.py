"""Reading CTranslate2's file format, written here by hand from a random Whisper."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperModel

from espnet_psslm.acoustic.ctranslate2 import (
    _FRONT,
    _LAYER,
    MODEL_FILE,
    is_ctranslate2_folder,
    read_encoder,
)
from espnet_psslm.acoustic.whisper import load_whisper_encoder
from tests.ctranslate2_files import FLOAT32, to_model, to_variable


def to_variables(folder: Path) -> dict[str, np.ndarray]:
    """The encoder of ``folder`` under CTranslate2's names, float32."""
    state = WhisperModel.from_pretrained(folder).encoder.state_dict()
    state = {name: value.numpy() for name, value in state.items()}
    variables = {f"encoder/{theirs}": state[ours] for theirs, ours in _FRONT.items()}
    for layer in range(3):
        prefix, ours = f"encoder/layer_{layer}", f"layers.{layer}"
        for theirs, name in _LAYER.items():
            variables[f"{prefix}/{theirs}"] = state[f"{ours}.{name}"]
        attention = f"{ours}.self_attn"
        biases = [state[f"{attention}.q_proj.bias"], np.zeros(32, np.float32)]
        variables[f"{prefix}/self_attention/linear_0/weight"] = np.concatenate(
            [state[f"{attention}.{name}_proj.weight"] for name in "qkv"]
        )
        variables[f"{prefix}/self_attention/linear_0/bias"] = np.concatenate(
            [*biases, state[f"{attention}.v_proj.bias"]]
        )
    variables["encoder/num_heads"] = np.array(4, dtype=np.int16)
    variables["decoder/ignored"] = np.ones((2, 3), dtype=np.float32)
    return variables


def write(folder: Path, variables: dict[str, np.ndarray], **head: str | int) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / MODEL_FILE).write_bytes(to_model(variables, **head))
    return folder


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_round_trip(tmp_path: Path, whisper_folder: Path, dtype: type) -> None:
    variables = {
        name: array.astype(dtype) if array.dtype == np.float32 else array
        for name, array in to_variables(whisper_folder).items()
    }
    folder = write(tmp_path / "ct2", variables)
    assert is_ctranslate2_folder(folder) and not is_ctranslate2_folder(whisper_folder)
    expected = WhisperModel.from_pretrained(whisper_folder).encoder
    encoder = load_whisper_encoder(str(folder))
    assert encoder.config.encoder_attention_heads == 4
    assert encoder.config.max_source_positions == 200
    for name, value in expected.state_dict().items():
        wanted = value.numpy().astype(dtype).astype(np.float32)
        np.testing.assert_array_equal(encoder.state_dict()[name].numpy(), wanted, err_msg=name)
    features = torch.randn(1, 80, 400)
    with torch.no_grad():
        ours, theirs = (model.eval()(features).last_hidden_state for model in (encoder, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-4 if dtype == np.float32 else 2e-2, rtol=0)


def test_files_that_do_not_serve(tmp_path: Path, whisper_folder: Path) -> None:
    good = to_variables(whisper_folder)
    key_bias = good["encoder/layer_0/self_attention/linear_0/bias"].copy()
    key_bias[40] = 1.0
    lacking = {name: array for name, array in good.items() if name != "encoder/conv1/bias"}
    quantised = {**good, "encoder/conv1/weight": np.zeros((32, 80, 3), dtype=np.int8)}
    surplus = {**good, "encoder/new": good["encoder/conv1/bias"]}
    cases = {
        "has no variable 'encoder/conv1/bias'": write(tmp_path / "a", lacking),
        "'encoder/conv1/weight' is int8; convert": write(tmp_path / "b", quantised),
        "a WhisperSpec is needed": write(tmp_path / "c", good, spec="TransformerSpec"),
        "file version 1;": write(tmp_path / "d", good, version=1),
        "unknown variables": write(tmp_path / "e", surplus),
        "keys have no bias": write(
            tmp_path / "f", {**good, "encoder/layer_0/self_attention/linear_0/bias": key_bias}
        ),
    }
    for reason, folder in cases.items():
        with pytest.raises(ValueError, match=reason):
            read_encoder(folder)
    whole = (tmp_path / "f" / MODEL_FILE).read_bytes()
    for size in (3, 30, 5000):
        (tmp_path / "f" / MODEL_FILE).write_bytes(whole[:size])
        with pytest.raises(ValueError, match="truncated"):
            read_encoder(tmp_path / "f")


def test_shapes_that_do_not_go_together(tmp_path: Path, whisper_folder: Path) -> None:
    good = to_variables(whisper_folder)
    fused = "encoder/layer_1/self_attention/linear_0"
    float32, int16 = np.float32, np.int16
    cases = {
        "layers.1.fc2.weight has the shape": {"encoder/layer_1/ffn/linear_1/weight": (32, 7)},
        f"'{fused}/weight' has the shape": {f"{fused}/weight": (95, 32)},
        f"'{fused}/bias' has the shape": {f"{fused}/bias": (2,)},
        "conv1.weight has the shape": {"encoder/conv1/weight": (32,)},
        "conv2.bias has the shape": {"encoder/conv2/bias": (32, 1)},
        "embed_positions.weight has the shape": {"encoder/position_encodings/encodings": (200,)},
    }
    for number, (reason, shapes) in enumerate(cases.items()):
        wrong = {name: np.zeros(shape, float32) for name, shape in shapes.items()}
        folder = write(tmp_path / str(number), good | wrong)
        with pytest.raises(ValueError, match=f"^{folder}/{MODEL_FILE}: {reason}"):
            read_encoder(folder)
    for heads in (np.array(0, int16), np.array(5, int16), np.zeros(4, float32)):
        folder = write(tmp_path / "heads", good | {"encoder/num_heads": heads})
        with pytest.raises(ValueError, match="attention heads do not go with a width of 32"):
            read_encoder(folder)


def test_sizes_that_make_no_sense(tmp_path: Path, whisper_folder: Path) -> None:
    """Nothing is set aside for what is not there."""
    good = to_model(to_variables(whisper_folder))
    known = to_variable("encoder/conv1/bias", np.zeros(32, np.float32), FLOAT32)
    assert known[:-128] in good
    size = len(known) - 128 - 4
    for name, wrong, reason in (
        ("a", known[:size] + b"\xff" * 4, "truncated, [0-9]+ of 4294967295 bytes"),
        (
            "b",
            known[: size - 5] + b"\x21" + known[size - 4 : -128],
            r"of shape \(33,\) .* 128 bytes",
        ),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / MODEL_FILE).write_bytes(good.replace(known[:-128], wrong))
        with pytest.raises(ValueError, match=f"^{folder}/{MODEL_FILE}: .*{reason}"):
            read_encoder(folder)


def test_a_name_of_several_lines_is_said_in_one(tmp_path: Path) -> None:
    for dtype_id in (FLOAT32, 2):  # too few bytes; a type that is not read
        model = to_model({"encoder/conv1\n\n": np.zeros(2, np.float32)})
        head = to_variable("encoder/conv1\n\n", np.zeros(2, np.float32), FLOAT32)[:-13]
        wrong = head + struct.pack("<BI", dtype_id, 4) + bytes(4)
        (tmp_path / MODEL_FILE).write_bytes(model.replace(head, wrong))
        with pytest.raises(ValueError, match="'encoder/conv1.n.n' ") as raised:
            read_encoder(tmp_path)
        assert "\n" not in str(raised.value)
