"""Whole systems on tiny random models: trained a few steps, saved, resumed, loaded, decoded.

Projectors, kinds of Steps, sources, tunings and language models meet in pairs here, and all with
all in the long suite.
"""

import json
import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import pytest
import torch
import yaml

from espnet_psslm.acoustic.sensevoice import BPE_MODEL
from espnet_psslm.bridge.projector import PROJECTORS
from espnet_psslm.bridge.steps import FeatureSteps, PosteriorSteps
from tests.ctc_setting import Setting
from tests.helpers import PROMPTS, build_lm, build_tokenizer, run_and_fail, write_jsonl
from tests.sensevoice_setting import save_sensevoice
from tests.tiny_training import BRIDGE, files_in, train_bridge

ROOT = Path(__file__).resolve().parents[3]
CONF = {
    "linear-silu": {"hidden": 64},
    "linear": {"k": 2, "hidden": 64},
    "cov1d-linear": {"k": 2, "hidden": 64},
    "q-former": {"num_queries": 4, "hidden": 12, "layers": 2, "heads": 2},
    "cross-attention": {"heads": 4},
    "simple_linear": {"k": 2},
    "lego": {},
    "lego-top1": {},
}
KINDS = {"posterior": PosteriorSteps, "feature": FeatureSteps}
PAIRS = [
    (name, kind) for name in PROJECTORS for kind in KINDS if KINDS[kind] in PROJECTORS[name].takes
]
SOURCES = {"posterior": ("text", "steps", "audio"), "feature": ("audio", "steps", "whisper")}
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma")
ALL = [
    (name, kind, source, tuning, architecture)
    for (name, kind), tuning, architecture in product(PAIRS, ("frozen", "lora"), ARCHITECTURES)
    for source in SOURCES[kind]
    if not (name.startswith("lego") and tuning == "frozen")  # nothing to train
]
SOME = [
    (
        name,
        kind,
        SOURCES[kind][i % 3],
        "lora" if name.startswith("lego") or i % 2 else "frozen",
        ARCHITECTURES[i % 4],
    )
    for i, (name, kind) in enumerate(PAIRS)
]


class World:
    """A CTC model, its dumps, language models, and the command lines of trainings on them."""

    def __init__(self, folder: Path) -> None:
        from espnet_psslm.bin import asr_train, dump_steps

        self.folder = folder
        self.setting = Setting(folder)
        self.ctc = folder / "ctc"
        # Long enough to hear units: where blanks alone are heard there is no answer.
        asr_train.main(self.setting.command(self.ctc, max_epoch=20, keep_nbest_models=1))
        for kind in ("posterior", "feature"):
            options = ["--output_dir", str(folder / kind), "--step_kind", kind]
            dump_steps.main([*self.setting.model_options(self.ctc), *options])
        write_jsonl(folder / "prompts.jsonl", PROMPTS)
        for architecture in ARCHITECTURES:
            self.save_lm(architecture)

    def save_lm(self, architecture: str) -> None:
        tokenizer = build_tokenizer()
        tokenizer.save_pretrained(self.folder / architecture)
        lm = build_lm(len(tokenizer), architecture=architecture)
        lm.save_pretrained(self.folder / architecture)

    def manifest(self, kind: str, source: str) -> Path:
        return (self.folder / kind if source == "steps" else self.setting.data) / "psslm.jsonl"

    def config(self, name: str, kind: str, source: str, tuning: str, architecture: str) -> dict:
        files = files_in(self.folder)
        if source in ("whisper", "sensevoice"):
            files["acoustic_conf"] = {source: str(self.folder / source)}
        return BRIDGE | {
            **files,
            "source": "audio" if source in ("whisper", "sensevoice") else source,
            "step_kind": kind,
            "feature_width": 32 if source == "steps" else 0,
            "reduction": "frame_sync" if source == "whisper" else "merge_then_drop",
            "llm_conf": {"name": str(self.folder / architecture), "dtype": "float32"},
            "projector": name,
            "projector_conf": CONF[name],
            "tuning": tuning,
            "tuning_conf": {"r": 2} if tuning == "lora" else {},
            "optim_conf": {"lr": 1e-3},
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("systems"))


def weights(exp: Path, name: str = "valid.loss.ave.pth") -> dict[str, torch.Tensor]:
    return torch.load(exp / name, weights_only=True)


def decoder(exp: Path, source: str, **options: object):
    from espnet_psslm.inference.decoder import PSSLMDecoder

    return PSSLMDecoder(
        exp / "config.yaml", exp / "valid.loss.ave.pth", device="cpu", max_new_tokens=4,
        source=source, **options,
    )  # fmt: skip


def rows(manifest: Path) -> list[dict]:
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def check_system(
    world: World, tmp_path: Path, system: tuple[str, ...], changes: Mapping[str, object] = {}
) -> None:
    _, kind, source, tuning, _ = system
    config, manifest = world.config(*system) | changes, world.manifest(kind, source)
    exp = train_bridge(tmp_path / "exp", config, manifest)
    state = weights(exp)
    assert all(key.startswith("projector.") or "lora_" in key for key in state)
    assert any("lora_" in key for key in state) == (tuning == "lora")
    heard = config["source"]
    answers = decoder(exp, heard).decode(rows(manifest))
    assert any(hyp.token_ids for hyp in answers)
    alone = decoder(exp, heard, batch_size=1).decode(rows(manifest)[:3])
    for one, batched in zip(alone, answers[:3], strict=True):
        # Among 290 models of random weights one has two best tokens that rounding tells apart:
        # another answer is right only where its whole probability is the same.
        same = one.token_ids == batched.token_ids
        assert same or abs(one.log_prob - batched.log_prob) < 5e-6, (one, batched)


@pytest.mark.parametrize("system", SOME, ids="-".join)
def test_system_trains_saves_loads_and_decodes(world, tmp_path, system):
    check_system(world, tmp_path, system)


@pytest.mark.long
@pytest.mark.parametrize("system", [s for s in ALL if s not in SOME], ids="-".join)
def test_every_combination(world, tmp_path, system):
    check_system(world, tmp_path, system)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "kind"),
    # A convolution over 25,055 units would have a billion weights.
    [pair for pair in PAIRS if pair != ("cov1d-linear", "posterior")],
)
def test_sensevoice_with_every_projector(world, tmp_path, shared_data, name, kind):
    folder = world.folder / "sensevoice"
    if not folder.exists():
        folder.mkdir()
        save_sensevoice(shared_data, folder)
    tuning = "lora" if name.startswith("lego") else "frozen"
    system = (name, kind, "sensevoice", tuning, "qwen2")
    units = {"token_type": "sensevoice", "token_list": None, "bpemodel": str(folder / BPE_MODEL)}
    check_system(world, tmp_path, system, units)


@pytest.mark.parametrize("embeddings", [False, True])
def test_lora_is_resumed_exactly_and_merged_for_decoding(world, tmp_path, embeddings):
    system = ("linear-silu", "posterior", "text", "lora", "llama")
    config, manifest = world.config(*system), world.manifest("posterior", "text")
    config["tuning_conf"] = {"r": 2, "dropout": 0.1, "train_embeddings": embeddings}
    once = train_bridge(tmp_path / "once", config, manifest, "--max_epoch", "2")
    train_bridge(tmp_path / "twice", config, manifest)
    twice = train_bridge(
        tmp_path / "twice", config, manifest, "--max_epoch", "2", "--resume", "true"
    )
    ours, theirs = weights(once, "2epoch.pth"), weights(twice, "2epoch.pth")
    assert ours.keys() == theirs.keys()
    assert any("embed_tokens" in key for key in ours) == embeddings
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key
    plain, merged = (decoder(once, "text", merge_lora=m).decode(rows(manifest)) for m in (0, 1))
    assert [hyp.token_ids for hyp in plain] == [hyp.token_ids for hyp in merged]


def test_projector_trained_without_lora_is_its_start(world, tmp_path):
    manifest = world.manifest("posterior", "text")
    frozen, lora = (
        world.config("linear-silu", "posterior", "text", tuning, "llama")
        for tuning in ("frozen", "lora")
    )
    first = train_bridge(tmp_path / "frozen", frozen, manifest)
    lora["optim_conf"] = {"lr": 0.0}
    init = ("--init_param", str(first / "valid.loss.ave.pth"))
    second = weights(train_bridge(tmp_path / "lora", lora, manifest, *init))
    for key, value in weights(first).items():
        assert torch.equal(second[key], value)


def test_slam_asr_is_one_configuration(world, tmp_path):
    """Whisper's outputs, five stacked, LoRA; no CTC model and no units. Then with reduction."""
    config = yaml.safe_load((ROOT / "conf/systems/slam_asr_whisper.yaml").read_text())
    config["llm_conf"]["name"] = str(world.folder / "qwen2")
    config["acoustic_conf"]["name"] = str(world.folder / "whisper")
    config |= {"num_workers": 0, "max_epoch": 1, "use_tensorboard": False}
    config["prompt_file"] = str(world.folder / "prompts.jsonl")
    manifest = world.manifest("feature", "audio")
    exp = train_bridge(tmp_path / "frames", config, manifest)
    answers = exp / "valid.acc.ave.pth"
    assert answers.is_file()
    from espnet_psslm.inference.decoder import PSSLMDecoder

    model = PSSLMDecoder(exp / "config.yaml", answers, device="cpu", max_new_tokens=4)
    assert model.model.lm.dtype == torch.bfloat16
    assert any(hyp.token_ids for hyp in model.decode(rows(manifest)))

    from espnet_model_zoo.downloader import ModelDownloader

    from espnet_psslm.bin.pack import main as pack

    archive = tmp_path / "slam.zip"
    options = ["--psslm_train_config", str(exp / "config.yaml"), "--psslm_model_file", str(answers)]
    pack([*options, "--outpath", str(archive)])
    unpacked = ModelDownloader(cachedir=tmp_path / "cache").download_and_unpack(str(archive))
    assert unpacked.keys() == {"psslm_train_config", "psslm_model_file"}

    config |= {"acoustic": "whisper_ctc", "acoustic_conf": world.config(*SOME[0])["acoustic_conf"]}
    config |= {"reduction": "merge_then_drop", "projector_conf": {"k": 1, "hidden": 64}}
    config["prompt_conf"]["layout"] = "<speech>{prompt}"  # audio first
    train_bridge(tmp_path / "steps", config, manifest)


def test_dumped_features_are_those_of_audio(world, tmp_path):
    """Within half precision; so is the text that each gives."""
    system = ("linear", "feature", "audio", "frozen", "llama")
    exp = train_bridge(tmp_path, world.config(*system), world.manifest("feature", "audio"))
    manifest = world.manifest("feature", "steps")
    model = decoder(exp, "audio")
    heard = [hyp.score for hyp in model.decode(rows(manifest))]
    dumped = [hyp.score for hyp in decoder(exp, "steps").decode(rows(manifest))]
    assert heard == pytest.approx(dumped, abs=5e-3)
    remembered = model.decode_usable(rows(manifest), remember=True)
    again = model.decode_usable(rows(manifest), remember=True)
    assert remembered.audio_s > 0.0 and again.audio_s == 0.0
    assert list(again.hypotheses.values()) == list(remembered.hypotheses.values())
    assert {hyp.heard for hyp in remembered.hypotheses.values()} == {None}


def test_encoder_outputs_do_not_say_how_clearly_they_were_heard(world, tmp_path, capsys):
    from espnet_psslm.bin.calibrate import main

    system = ("linear", "feature", "audio", "frozen", "llama")
    exp = train_bridge(tmp_path, world.config(*system), world.manifest("feature", "audio"))
    some = rows(world.manifest("feature", "steps"))
    many = [row | {"key": f"{row['key']}-{n}"} for n in range(5) for row in some]
    command = ["--psslm_train_config", str(exp / "config.yaml"), "--max_new_tokens", "4"]
    command += ["--psslm_model_file", str(exp / "valid.loss.ave.pth"), "--device", "cpu"]
    command += ["--manifest", str(write_jsonl(tmp_path / "many.jsonl", many))]
    (tmp_path / "text").write_text("a turn on the light\n")
    command += ["--text", str(tmp_path / "text")]
    error = run_and_fail(main, [*command, "--output", str(tmp_path / "outside.yaml")], capsys)
    assert "was dumped as encoder outputs (step_kind: feature)" in error
    assert not (tmp_path / "outside.yaml").exists()


def test_simple_linear_starts_as_the_ctc_layer(world, tmp_path):
    config = world.config("simple_linear", "feature", "audio", "frozen", "llama")
    config |= {"projector_init": "ctc_head", "projector_conf": {}, "optim_conf": {"lr": 0.0}}
    exp = train_bridge(tmp_path, config, world.manifest("feature", "audio"))
    head = weights(world.ctc)
    torch.testing.assert_close(
        weights(exp)["projector.head.weight"], head["ctc.ctc_lo.weight"].T, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"projector": "lego", "projector_conf": {}}, "has nothing to train: set tuning: lora"),
        ({"projector": "simple_linear", "projector_conf": {}}, "takes FeatureSteps, not"),
        ({"step_kind": "feature"}, "needs --feature_width"),
        ({"projector_init": "ctc_head"}, "ctc_head is for simple_linear"),
        ({"projector": "q-former", "projector_init": "unit_text",
          "projector_conf": CONF["q-former"]}, "projector_init: none"),
        ({"tuning": "lora", "tuning_conf": {"target_modules": ["x"]}}, "target_modules"),
        ({"reduction": "fixed_rate"}, "fixed_rate.*rate"),
        ({"source": "audio", "acoustic_conf": {"whisper": "WHISPER"}}, "has no CTC posterior"),
    ],
)  # fmt: skip
def test_configurations_that_do_not_fit_are_named(world, tmp_path, capsys, change, match):
    config = world.config("linear-silu", "posterior", "text", "frozen", "llama") | change
    if "whisper" in config["acoustic_conf"]:
        config["acoustic_conf"] = {"whisper": str(world.folder / "whisper")}
    with pytest.raises((SystemExit, ValueError)) as error:
        train_bridge(tmp_path, config, world.manifest("posterior", "text"))
    said = capsys.readouterr().err + str(error.value)
    assert re.search(match, said), said[-500:]


def test_statistics_of_a_dump(world):
    stats = json.loads((world.folder / "posterior/stats.json").read_text())
    assert stats["frames_per_step"] == pytest.approx(stats["frames"] / stats["steps"], abs=1e-5)
    assert 0.0 <= stats["dropped_unit_share"] <= 1.0
    assert json.loads((world.folder / "feature/stats.json").read_text()) == stats
