"""Checkpoints in the layout of the published PS-SLM system."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from espnet_psslm.bridge.steps import PosteriorSteps, collate_steps
from tests.helpers import text_rows, write_jsonl

HIDDEN, WIDTH = 24, 32  # the tiny language model is 32 wide


@pytest.fixture(scope="module")
def options(lm_folder, units_folder, prompt_file):
    return [
        *("--source", "text", "--llm_conf", f"name={lm_folder}", "--prompt_file", str(prompt_file)),
        *("--token_list", str(units_folder / "tokens.txt")),
        *("--bpemodel", str(units_folder / "bpe.model")),
        *("--projector_conf", f"hidden={HIDDEN}", "--seed", "0"),
    ]


@pytest.fixture
def build(options):
    from espnet_psslm.tasks.psslm import PSSLMTask

    def build(*more):
        return PSSLMTask.build_model(PSSLMTask.get_parser().parse_args([*options, *more]))

    return build


class Theirs(nn.Module):
    """The published projector, as it is written there: plain layers over dense rows."""

    def __init__(self, num_units, *, hidden=HIDDEN, width=WIDTH):
        super().__init__()
        layers = [nn.Linear(num_units, hidden), nn.SiLU(), nn.Linear(hidden, width)]
        self.norm, self.ffn = nn.LayerNorm(num_units), nn.Sequential(*layers)
        torch.manual_seed(5)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)

    def forward(self, rows):
        return self.ffn(self.norm(rows))


def num_units_of(units_folder):
    return len((units_folder / "tokens.txt").read_text().splitlines())


@pytest.fixture
def theirs(units_folder):
    return Theirs(num_units_of(units_folder))


def state_of(projector, **others):
    state = {f"encoder_projector.{name}": value for name, value in projector.state_dict().items()}
    return state | others


def save(folder, state):
    path = folder / "pytorch_model.bin"
    torch.save(state, path)
    return path


FROZEN = {
    "llm.model.layers.0.self_attn.q_proj.weight": torch.zeros(4, 4),
    "encoder.encoders.0.norm1.weight": torch.zeros(3),
}


def start(model, path):
    from espnet2.torch_utils.load_pretrained_model import load_pretrained_model

    load_pretrained_model(str(path), model, ignore_init_mismatch=False)


@pytest.mark.parametrize("others", [{}, FROZEN], ids=["projector alone", "with frozen parts"])
def test_same_output_as_their_layers(build, theirs, others, tmp_path):
    model = build()
    start(model, save(tmp_path, state_of(theirs, **others)))
    num_units = theirs.norm.normalized_shape[0]
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(np.stack([rng.permutation(num_units)[:3] for _ in range(4)]))
    probs = torch.tensor([[0.9, 0.05, 0.01], [1.0, 0.0, 0.0], [0.4, 0.3, 0.2], [0.6, 0.1, 0.1]])
    steps = PosteriorSteps(*collate_steps([(ids, probs)], num_units=num_units), num_units)
    torch.testing.assert_close(model.projector(steps), theirs(steps.dense()), rtol=1e-4, atol=1e-4)


def test_half_precision_is_read(build, theirs, tmp_path):
    state = {name: value.bfloat16() for name, value in state_of(theirs).items()}
    model = build()
    start(model, save(tmp_path, state))
    assert model.projector.output.weight.dtype == torch.float32
    torch.testing.assert_close(
        model.projector.output.weight, theirs.ffn[2].weight, rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_projector.ffn.2.bias": None}, r"lacks \['ffn.2.bias'\]"),
        ({"encoder_projector.ffn.4.bias": torch.zeros(1)}, r"has \['ffn.4.bias'\]"),
        ({"llm.base_model.q_proj.lora_A.weight": torch.zeros(1)}, "adapters .*FILE:::llm"),
        ({"decoder.weight": torch.zeros(1)}, "1 unexpected .decoder.weight"),
    ],
)
def test_other_contents_are_named(build, theirs, change, message, tmp_path):
    state = state_of(theirs, **FROZEN) | change
    state = {name: value for name, value in state.items() if value is not None}
    path = save(tmp_path, state)
    with pytest.raises(ValueError, match=message):
        start(build(), path)


def test_adapters_can_be_left_out(build, theirs, tmp_path):
    path = save(tmp_path, state_of(theirs, **{"llm.q_proj.lora_A.weight": torch.zeros(1)}))
    model = build()
    start(model, f"{path}:::llm")
    assert torch.equal(model.projector.output.bias, theirs.ffn[2].bias)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"num_units": 25055}, r"norm.weight is \(25055,\) .* vocabulary .SenseVoice"),
        ({"hidden": 2048}, r"ffn.0.weight is \(2048, \d+\) .* projector_conf.hidden"),
        ({"width": 1536}, r"ffn.2.weight is \(1536, 24\) .* \(32, 24\) .*llm_conf.name"),
    ],
)
def test_shapes_are_checked(build, units_folder, shape, message, tmp_path):
    other = Theirs(**{"num_units": num_units_of(units_folder)} | shape)
    model = build()
    before = {name: value.clone() for name, value in model.projector.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        start(model, save(tmp_path, state_of(other)))
    for name, value in model.projector.state_dict().items():
        assert torch.equal(value, before[name])


def test_another_projector_is_named(build, theirs, tmp_path):
    model = build("--projector", "linear")
    with pytest.raises(ValueError, match="StackedLinear: set projector: linear-silu"):
        start(model, save(tmp_path, state_of(theirs)))


def train(options, folder, *more):
    from espnet_psslm.bin.psslm_train import main

    manifest = write_jsonl(folder / "data.jsonl", text_rows())
    shape = folder / "shape"
    shape.write_text("".join(f"{row['key']} 50\n" for row in text_rows()))
    data = f"{manifest},sample,psslm_jsonl"
    main(
        [
            *options,
            *("--output_dir", str(folder / "exp"), "--max_epoch", "1", "--batch_size", "4"),
            *("--batch_type", "sorted", "--num_workers", "0", "--use_matplotlib", "false"),
            *("--use_tensorboard", "false", "--num_att_plot", "0"),
            *("--best_model_criterion", "valid,loss,min", "--keep_nbest_models", "1"),
            *("--optim", "sgd", "--optim_conf", "lr=0.0"),
            *("--train_data_path_and_name_and_type", data, "--train_shape_file", str(shape)),
            *("--valid_data_path_and_name_and_type", data, "--valid_shape_file", str(shape)),
            *more,
        ]
    )


def test_training_starts_there_and_decoding_reads_it(options, theirs, tmp_path):
    from espnet_psslm.inference.decoder import PSSLMDecoder

    path = save(tmp_path, state_of(theirs, **FROZEN))
    train(options, tmp_path, "--init_param", str(path))
    config, trained = tmp_path / "exp/config.yaml", tmp_path / "exp/1epoch.pth"
    state = torch.load(trained, weights_only=True)
    assert torch.equal(state["projector.input.weight"], theirs.ffn[0].weight.T)
    answers = [
        [
            (answer.text, answer.score)
            for answer in PSSLMDecoder(
                config, file, device="cpu", source="text", max_new_tokens=6
            ).decode(text_rows())
        ]
        for file in (trained, path)
    ]
    assert answers[0] == answers[1]


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return open, ("ran", "w")


def test_pickled_code_is_refused_whatever_espnet_would_do(
    options, theirs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("ESPNET_ALLOW_UNSAFE_TORCH_LOAD", "1")
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path, state_of(theirs, extra=Evil()))
    with pytest.raises(SystemExit):
        train(options, tmp_path, "--init_param", str(path))
    assert re.search(
        "no file of tensors alone, and code in it is never run", capsys.readouterr().err
    )
    assert not (tmp_path / "ran").exists()
    with pytest.raises(SystemExit):
        train(options, tmp_path, "--init_param", str(tmp_path / "none.bin"))
    assert "none.bin does not exist" in capsys.readouterr().err


def test_nothing_is_left_out_in_silence(options, theirs, tmp_path, capsys):
    path = save(tmp_path, state_of(theirs))
    with pytest.raises(SystemExit):
        train(options, tmp_path, "--init_param", str(path), "--ignore_init_mismatch", "true")
    assert "would leave out what does not fit in silence" in capsys.readouterr().err
