"""What each option freezes, by name; patterns that match nothing."""

import pytest
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from espnet_psslm.acoustic.freezing import FreezePlan, is_fixed
from tests.helpers import tiny_whisper_config

LAYERS = 3


def plan(freeze, unfreeze=None):
    encoder = WhisperEncoder(tiny_whisper_config(20)).requires_grad_(True)
    made = FreezePlan(encoder, num_layers=LAYERS, freeze=freeze, unfreeze=unfreeze)
    return encoder, made


def trained_parts(encoder):
    """Names up to the layer's number."""
    names = [name.split(".") for name, p in encoder.named_parameters() if p.requires_grad]
    return {".".join(name[: 2 if name[0] == "layers" else 1]) for name in names}


ALL = {"conv1", "conv2", "layers.0", "layers.1", "layers.2", "layer_norm"}
FRONT = {"conv1", "conv2"}


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        ("none", set()),
        ("encoder", ALL),
        ("front", FRONT),
        ({"first_layers": 0}, FRONT),
        ({"first_layers": 2}, FRONT | {"layers.0", "layers.1"}),
        ({"layers": [0, 2]}, FRONT | {"layers.0", "layers.2"}),
        ({"pattern": r"layers\.[12]"}, {"layers.1", "layers.2"}),
        ({"pattern": ["conv1", "layer_norm"]}, {"conv1", "layer_norm"}),
    ],
)
def test_what_is_frozen(freeze, frozen):
    encoder, _ = plan(freeze)
    assert trained_parts(encoder) == ALL - frozen
    assert is_fixed(encoder.conv1) == ("conv1" in frozen)


def test_part_of_a_layer():
    encoder, _ = plan({"pattern": r"layers\.\d+\.self_attn\."})
    assert is_fixed(encoder.layers[0].self_attn) and not is_fixed(encoder.layers[0])


def test_unfreezing():
    encoder, made = plan("encoder", {4: ["layers", "layer_norm"], "2": r"layers\.2"})
    assert made.by_epoch and not plan("encoder")[1].by_epoch
    assert trained_parts(encoder) == ALL - FRONT  # counts as trained until an epoch is set
    for epoch, trained in (
        (1, set()),
        (2, {"layers.2"}),
        (3, {"layers.2"}),
        (4, ALL - FRONT),
        (1, set()),
    ):
        made.set_epoch(epoch)
        assert trained_parts(encoder) == trained


@pytest.mark.parametrize(
    ("freeze", "unfreeze", "reason"),
    [
        ({"pattern": "layer_3"}, None, "'layer_3' matches no parameter; there are conv1.weight"),
        ({"pattern": ["conv1", "norm"]}, None, "'norm' matches no parameter"),
        ({"pattern": "("}, None, "is no regular expression"),
        ({"pattern": 3}, None, "must be a regular expression or a list"),
        ({"first_layers": 4}, None, "layers 0 to 2"),
        ({"first_layers": -1}, None, "is unknown"),
        ({"first_layers": 1, "layers": [0]}, None, "is unknown"),
        ("front", {2: "layers"}, "'layers' matches no parameter"),
        ("encoder", {2: "layers", 3: "layers"}, "'layers' matches no parameter"),
        ("encoder", {1: "layers"}, "must be an epoch from 2 on"),
        ("encoder", {"two": "layers"}, "must be an epoch from 2 on"),
    ],
)
def test_errors(freeze, unfreeze, reason):
    with pytest.raises(ValueError, match=reason):
        plan(freeze, unfreeze)
