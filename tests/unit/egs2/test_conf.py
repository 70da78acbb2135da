"""Every setting of conf/: ESPnet's dry run builds what it names, from tiny models."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from benchmarks.budget import expected
from tests.helpers import build_lm, build_tokenizer, tiny_whisper_config

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ("slurp", "commonvoice", "covost2")
DECODING = ROOT / "conf/decode_psslm.yaml"
FILES = sorted(path for path in (ROOT / "conf").rglob("*.yaml") if path != DECODING)
BRIDGES = [path for path in FILES if "llm_conf:" in path.read_text(encoding="utf-8")]
SIMULATORS = [path for path in FILES if "network_conf:" in path.read_text(encoding="utf-8")]
CTC = [path for path in FILES if path not in BRIDGES + SIMULATORS]


def test_none_is_overlooked():
    assert (len(BRIDGES), len(CTC), len(SIMULATORS)) == (10, 3, 2)
    assert {path.suffix for path in (ROOT / "conf/systems").iterdir()} == {".yaml", ".json"}


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """Folders by hub name."""
    from transformers import WhisperModel

    folder = tmp_path_factory.mktemp("hub")
    names = {}
    for name, num_mels in (("base", 80), ("medium", 80), ("large-v3", 128)):
        config = tiny_whisper_config(200)
        config.num_mel_bins, config.encoder_layers = num_mels, 24 if name == "medium" else 3
        WhisperModel(config).save_pretrained(folder / name)
        names[f"openai/whisper-{name}"] = str(folder / name)
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(folder / "qwen2")
    build_lm(len(tokenizer), architecture="qwen2").save_pretrained(folder / "qwen2")
    for size in ("0.5B", "1.5B", "7B"):
        names[f"Qwen/Qwen2.5-{size}-Instruct"] = str(folder / "qwen2")
    return names


def read(path, stand_ins):
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    for section, key in (
        ("llm_conf", "name"),
        ("acoustic_conf", "name"),
        ("encoder_conf", "name"),
    ):
        if key in config.get(section, {}):
            name = config[section][key]
            config[section][key] = stand_ins.get(name, name)
    return config


@pytest.fixture
def dry_run(stand_ins, units_folder, tmp_path, monkeypatch):
    """Runs a setting as a recipe would; returns what training would have saved."""

    def run(path, recipe="slurp", **changes):
        from espnet_psslm.bin import asr_train, psslm_train, simulator_train

        config = read(path, stand_ins)
        for name, value in changes.items():
            config[name] = {**config[name], **value} if isinstance(value, dict) else value
        given = tmp_path / "given.yaml"
        given.write_text(yaml.safe_dump(config), encoding="utf-8")
        folder = ROOT / f"egs2/{recipe}/psslm1"
        monkeypatch.chdir(folder)  # names of files in settings count from there
        prompts = (folder / "run.sh").read_text(encoding="utf-8")
        prompts = re.search(r"--prompt_file (\S+)", prompts)
        prompts = prompts[1] if prompts else "../../../conf/multiprompt.jsonl"
        command = ["--config", given, "--dry_run", "true", "--output_dir", tmp_path / "exp"]
        command += ["--token_list", units_folder / "tokens.txt"]
        command += ["--bpemodel", units_folder / "bpe.model"]
        command += ["--use_tensorboard", "false"]
        if path in BRIDGES:
            command += ["--prompt_file", prompts]
        task = psslm_train if path in BRIDGES else asr_train
        task = simulator_train if path in SIMULATORS else task
        task.main([str(word) for word in command])
        saved = (tmp_path / "exp/config.yaml").read_text(encoding="utf-8")
        return SimpleNamespace(**yaml.safe_load(saved))

    return run


# Each with one recipe, and with the others in the long suite.
PAIRS = [
    pytest.param(
        path, name, marks=[] if i % 3 == j else [pytest.mark.long], id=f"{path.stem}-{name}"
    )
    for i, path in enumerate(BRIDGES)
    for j, name in enumerate(RECIPES)
]


@pytest.mark.parametrize(("path", "recipe"), PAIRS)
def test_bridge(dry_run, path, recipe):
    from espnet_psslm.tasks.psslm import PSSLMTask

    saved = dry_run(path, recipe)
    if saved.simulator == "measured":
        saved.simulator, saved.simulator_conf = "tasu", {}  # its numbers come from stage 9
    for train in (True, False):  # what a dry run leaves out
        PSSLMTask.build_preprocess_fn(saved, train)
        PSSLMTask.build_collate_fn(saved, train)
    if saved.use_deepspeed:
        assert Path(saved.deepspeed_config).is_file()


@pytest.mark.parametrize("path", CTC, ids=lambda path: path.stem)
def test_acoustic_model(dry_run, path):
    assert dry_run(path).scheduler == "warmupcosinelr"


@pytest.mark.parametrize("path", SIMULATORS, ids=lambda path: path.stem)
def test_simulator(dry_run, path):
    saved = dry_run(path)
    epochs = saved.max_epoch * saved.num_iters_per_epoch
    assert saved.scheduler_conf["max_steps"] == epochs


def sections(paths):
    """One setting for each kind of section that any of them has."""
    found = {}
    for path in paths:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        found |= {name: path for name, value in config.items() if isinstance(value, dict)}
    return sorted(found.items())


@pytest.mark.parametrize(("section", "path"), sections(BRIDGES) + sections(CTC + SIMULATORS))
def test_a_key_that_nothing_reads_is_an_error(dry_run, section, path, capsys):
    from espnet_psslm.tasks.psslm import PSSLMTask

    with pytest.raises((TypeError, ValueError, SystemExit)) as error:
        saved = dry_run(path, **{section: {"nonsense": 1}})
        PSSLMTask.build_preprocess_fn(saved, True)  # reads simulator_conf and prompt_conf
    assert "nonsense" in capsys.readouterr().err + str(error.value)


def test_an_option_that_nothing_reads_is_an_error(dry_run, capsys):
    with pytest.raises(SystemExit):
        dry_run(BRIDGES[0], nonsense=1)
    assert "nonsense" in capsys.readouterr().err


@pytest.mark.parametrize("path", [*BRIDGES, *CTC, DECODING], ids=lambda path: path.stem)
def test_memory_and_time_are_those_of_the_budget(path):
    assert expected(path) in path.read_text(encoding="utf-8").splitlines()


def test_settings_of_recipes_say_what_they_took():
    paths = sorted(ROOT.glob("egs2/*/psslm1/conf/t*.yaml"))
    assert len(paths) == 5
    for path in paths:
        assert re.search(r"^# Expected: .* GB .* min .*measured, RESULTS.md\)\.$", head(path), re.M)


def test_fine_tuning_builds_the_text_only_model():
    for text, tune in (("tasu_sensevoice", "tasu_sensevoice_audio"), ("small", "small_tune")):
        text, tune = (
            yaml.safe_load((ROOT / f"conf/systems/{name}.yaml").read_text(encoding="utf-8"))
            for name in (text, tune)
        )
        for name in ("llm_conf", "projector", "projector_conf", "reduction", "reduction_conf"):
            assert tune[name] == text[name]
        assert tune.get("acoustic_conf") == text.get("acoustic_conf")


def test_decoding_options_are_those_of_the_command():
    from espnet_psslm.bin.psslm_inference import get_parser

    needed = ["--psslm_train_config", "c", "--psslm_model_file", "m", "--manifest", "j"]
    args = get_parser().parse_args([*needed, "--output_dir", "o", "--config", str(DECODING)])
    settings = yaml.safe_load(DECODING.read_text(encoding="utf-8"))
    assert {name: getattr(args, name) for name in settings} == settings


def head(path):
    """Comments before the first section, or those of the setting that has the command."""
    text = path.read_text(encoding="utf-8").split("\n\n")[0]
    if other := re.search(r"The command stands in\s+(?:# )?(\w+\.yaml)", text):
        return head(path.with_name(other[1]))
    return text


@pytest.mark.parametrize("path", [*FILES, DECODING], ids=lambda path: path.stem)
def test_the_head_says_how_a_recipe_runs_it(path):
    """One whole command line; what it names is there."""
    command = re.search(r"\./run\.sh(?:(?: | \\\n# +)--\w+ [^\s()]+)+", head(path))
    assert command is not None
    options = dict(re.findall(r"--(\w+) (\S+)", command[0]))
    script = (ROOT / "egs2/TEMPLATE/psslm1/psslm.sh").read_text(encoding="utf-8")
    assert options.keys() <= set(re.findall(r"^(\w+)=", script, re.MULTILINE))
    files = [value for value in options.values() if value.startswith("../")]
    assert all((ROOT / "egs2/slurp/psslm1" / value).is_file() for value in files)
    if path.parent.name == "systems":
        assert f"../../../conf/systems/{path.name}" in files
