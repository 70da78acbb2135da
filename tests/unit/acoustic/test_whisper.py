"""Freezing, lengths and errors of the encoder. Equality with Whisper: tests/equivalence."""

from pathlib import Path

import pytest
import torch

from espnet_psslm.acoustic.whisper import HFSpeechEncoder, StridedConv, output_lengths

FEATURES, LENGTHS = torch.randn(2, 60, 80), torch.tensor([60, 31])


def make(folder: Path, **options: object) -> HFSpeechEncoder:
    return HFSpeechEncoder(80, str(folder), **options)


def trained_names(encoder: HFSpeechEncoder) -> set[str]:
    return {name for name, p in encoder.named_parameters() if p.requires_grad}


def test_frozen_encoder_has_no_graph_and_stays_in_evaluation_mode(whisper_folder: Path) -> None:
    encoder = make(whisper_folder, conv_kernel=3, conv_stride=3).train()
    assert trained_names(encoder) == {"downsample.conv.weight", "downsample.conv.bias"}
    frozen = [module for layer in encoder.whisper.layers for module in layer.modules()]
    assert not any(module.training for module in frozen)
    assert not encoder.whisper.conv1.training and encoder.downsample.training
    seen = []
    encoder.downsample.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    out, _, _ = encoder(FEATURES, LENGTHS)
    assert not seen[0].requires_grad and out.requires_grad
    assert set(encoder.state_dict()) == {"downsample.conv.weight", "downsample.conv.bias"}


def test_frozen_encoder_without_convolution_trains_nothing(whisper_folder: Path) -> None:
    encoder = make(whisper_folder)
    assert not trained_names(encoder) and not encoder.state_dict()
    assert not encoder(FEATURES, LENGTHS)[0].requires_grad


def test_frozen_layers(whisper_folder: Path) -> None:
    """The two lowest layers run without a graph; the top one and the last norm are trained."""
    encoder = make(whisper_folder, freeze={"layers": [0, 1]}).train()
    names = trained_names(encoder)
    assert all(name.startswith(("whisper.layers.2.", "whisper.layer_norm.")) for name in names)
    assert "whisper.layers.2.fc1.weight" in names and "whisper.layer_norm.weight" in names
    assert set(encoder.state_dict()) == names
    inputs = []
    encoder.whisper.layers[2].register_forward_pre_hook(lambda _m, args: inputs.append(args[0]))
    out, _, _ = encoder(FEATURES, LENGTHS)
    assert out.requires_grad and not inputs[0].requires_grad
    assert [layer.training for layer in encoder.whisper.layers] == [False, False, True]


def inputs_of_layers(encoder: HFSpeechEncoder) -> list[torch.Tensor]:
    seen = []
    for layer in (*encoder.whisper.layers, encoder.whisper.layer_norm):
        layer.register_forward_pre_hook(lambda _m, args: seen.append(args[0].detach()))
    encoder(FEATURES, LENGTHS)
    return seen


@pytest.mark.parametrize("later_frozen", [False, True])
def test_what_is_never_trained_may_multiply_in_bfloat16(whisper_folder: Path, later_frozen) -> None:
    """Two of three layers, rounded as bfloat16 is; the third multiplies what it gets as before."""
    options = {"freeze": {"layers": [0, 1]}}
    exact = make(whisper_folder, **options)
    fast = make(whisper_folder, **options, frozen_dtype="bfloat16").requires_grad_(not later_frozen)
    expected, found = inputs_of_layers(exact), inputs_of_layers(fast)
    for want, got in zip(expected[:3], found[:3], strict=True):
        assert got.dtype == torch.float32
        assert 1e-5 < (got - want).norm() / want.norm() < 2e-2
    mask = torch.arange(30) < torch.tensor([[30], [16]])
    assert torch.equal(exact.whisper.layers[2](found[2], mask[:, None, None]), found[3])


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"freeze": "none"}, 0),
        ({"freeze": {"layers": [0, 2]}}, 2),
        ({"freeze": "encoder"}, 4),
        ({"freeze": "encoder", "unfreeze": {2: r"layers\.1\."}}, 2),
        ({"freeze": {"pattern": r"layers\.0\."}}, 0),
    ],
)
def test_parts_below_all_that_is_ever_trained(whisper_folder: Path, options, parts) -> None:
    assert make(whisper_folder, **options).num_frozen_parts == parts


def test_the_type_of_frozen_products_must_be_known(whisper_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"dtype 'int8' is unknown; use auto or one of"):
        make(whisper_folder, frozen_dtype="int8")


def test_frozen_upper_layer_passes_gradients_down(whisper_folder: Path) -> None:
    encoder = make(whisper_folder, freeze={"layers": [2]}).train()
    encoder(FEATURES, LENGTHS)[0].square().sum().backward()
    assert encoder.whisper.layers[0].fc1.weight.grad is not None
    assert encoder.whisper.layers[2].fc1.weight.grad is None
    assert encoder.whisper.conv1.weight.grad is None


def test_freeze_none_trains_all_but_the_position_table(whisper_folder: Path) -> None:
    encoder = make(whisper_folder, freeze="none")
    frozen = {name for name, p in encoder.named_parameters() if not p.requires_grad}
    assert frozen == {"whisper.embed_positions.weight"}
    encoder(FEATURES, LENGTHS)[0].square().sum().backward()
    assert encoder.whisper.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("stride", [0, 2, 3, 5])
@pytest.mark.parametrize("frames", [1, 2, 5, 6, 7, 60])
def test_output_lengths(whisper_folder: Path, stride: int, frames: int) -> None:
    encoder = make(whisper_folder, conv_kernel=stride, conv_stride=stride)
    with torch.no_grad():
        out, lengths, _ = encoder(FEATURES[:1, :frames], torch.tensor([frames]))
    expected = output_lengths(frames, conv_stride=stride)
    assert out.shape == (1, expected, 32) and lengths.tolist() == [expected]
    assert encoder.frame_shift_s == pytest.approx(0.02 * (stride or 1))


def test_empty_utterance_in_a_batch(whisper_folder: Path) -> None:
    encoder = make(whisper_folder, freeze="none", conv_kernel=3, conv_stride=3)
    out, lengths, _ = encoder(FEATURES, torch.tensor([60, 0]))
    assert lengths.tolist() == [10, 0]
    out[0].square().sum().backward()
    grads = [p.grad for p in encoder.parameters() if p.grad is not None]
    assert grads and all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"freeze": "all"}, "use none, encoder, front, {first_layers"),
        ({"freeze": {"layers": [3]}}, "layers 0 to 2"),
        ({"freeze": {"layer": [0]}}, "use none, encoder, front, {first_layers"),
        ({"freeze": {"first_layers": 4}}, "layers 0 to 2"),
        ({"conv_kernel": 3}, "give both, or 0 for none"),
        ({"conv_kernel": 2, "conv_stride": 3}, "frames are skipped"),
    ],
)
def test_bad_options(whisper_folder: Path, options: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make(whisper_folder, **options)


def test_mel_channels_must_fit(whisper_folder: Path) -> None:
    with pytest.raises(ValueError, match="frontend_conf: num_mels: 80"):
        HFSpeechEncoder(128, str(whisper_folder))


def test_missing_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="neither a folder nor a model that the hub gives out"):
        make(tmp_path / "absent")


def test_too_long(whisper_folder: Path) -> None:
    encoder = make(whisper_folder)
    with pytest.raises(ValueError, match="4.5 s exceeds the encoder's 4 s"):
        encoder(torch.zeros(1, 450, 80), torch.tensor([450]))
    padded = make(whisper_folder, pad_to_30s=True)
    with pytest.raises(ValueError, match="frontend_conf: pad_to_30s: true"):
        padded(FEATURES, LENGTHS)


def test_strided_conv_fills_the_last_window_with_zeros() -> None:
    conv = StridedConv(1, kernel=3, stride=2)
    torch.nn.init.ones_(conv.conv.weight)
    torch.nn.init.zeros_(conv.conv.bias)
    frames = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1)
    out, lengths = conv(frames, torch.tensor([4]))
    assert out.flatten().tolist() == [6.0, 7.0] and lengths.tolist() == [2]
