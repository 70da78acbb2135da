import errno
import os
import zipfile
from pathlib import Path

import pytest
import yaml

from espnet_psslm.bin.pack import main
from espnet_psslm.bin.unpack import main as unpack
from espnet_psslm.text.prompt import read_prompt_file
from tests.helpers import run_and_fail


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe folder with a trained bridge: dummy files, real names."""
    files = {
        "exp/psslm_sft/3epoch.pth": "bridge",
        "exp/ctc/5epoch.pth": "ctc",
        "data/units/bpe.model": "pieces",
        "data/units/tokens.txt": "<blank>\n<unk>\na\n<sos/eos>\n",
        "conf/multiprompt.jsonl": '{"task": "ASR", "prompt": "Transcribe."}\n',
        "exp/RESULTS.md": "| WER | 5 |\n",
        "conf/notes.md": "Speech by espeak-ng.\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "exp/psslm_sft/valid.loss.ave.pth").symlink_to("3epoch.pth")
    (tmp_path / "base").mkdir()
    ctc = {
        "token_list": ["<blank>", "<unk>", "a", "units", "<sos/eos>"],
        "bpemodel": "data/units/bpe.model",
        "encoder_conf": {"name": "package://models/whisper", "freeze": "encoder"},
    }
    psslm = {
        "token_list": "data/units/tokens.txt",
        "bpemodel": str(tmp_path / "data/units/bpe.model"),
        "prompt_file": "conf/multiprompt.jsonl",
        "non_linguistic_symbols": None,
        "acoustic_conf": {
            "train_config": "exp/ctc/config.yaml",
            "model_file": "exp/ctc/5epoch.pth",
        },
        "llm_conf": {"name": str(tmp_path / "base"), "dtype": "float32"},
    }
    (tmp_path / "exp/ctc/config.yaml").write_text(yaml.safe_dump(ctc))
    (tmp_path / "exp/psslm_sft/config.yaml").write_text(yaml.safe_dump(psslm))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pack(*options):
    main(
        [
            *("--psslm_train_config", "exp/psslm_sft/config.yaml"),
            *("--psslm_model_file", "exp/psslm_sft/valid.loss.ave.pth"),
            *("--outpath", "exp/psslm.zip", "--option", "exp/RESULTS.md"),
            *("--notes", "conf/notes.md", *options),
        ]
    )


def test_model_zoo_unpacks_it(recipe, monkeypatch):
    from espnet_model_zoo.downloader import ModelDownloader

    pack()
    # Unpacked elsewhere, with the recipe gone.
    archive = recipe.parent / "moved.zip"
    (recipe / "exp/psslm.zip").rename(archive)
    for name in ("exp/ctc/5epoch.pth", "data/units/bpe.model", "conf/multiprompt.jsonl"):
        (recipe / name).unlink()
    elsewhere = recipe / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    files = ModelDownloader(cachedir=elsewhere / "cache").download_and_unpack(str(archive))
    assert Path(files["psslm_model_file"]).read_text() == "bridge"
    assert Path(files["asr_model_file"]).read_text() == "ctc"
    config = yaml.safe_load(Path(files["psslm_train_config"]).read_text())
    assert Path(config["token_list"]).read_text().startswith("<blank>")
    assert Path(config["bpemodel"]).read_text() == "pieces"
    assert Path(config["prompt_file"]).read_text().startswith('{"task"')
    assert config["acoustic_conf"] == {
        "train_config": files["asr_train_config"],
        "model_file": files["asr_model_file"],
    }
    assert config["llm_conf"] == {"name": str(recipe / "base"), "dtype": "float32"}
    ctc = yaml.safe_load(Path(files["asr_train_config"]).read_text())
    assert ctc["bpemodel"] == config["bpemodel"]
    assert ctc["token_list"] == ["<blank>", "<unk>", "a", "units", "<sos/eos>"]
    assert ctc["encoder_conf"]["name"] == "package://models/whisper"


def test_stages_find_models_and_prompts_of_a_pack(recipe):
    pack()
    where = {"--psslm_exp": "new/psslm", "--psslm_name": "best.pth"}
    where |= {"--ctc_exp": "new/ctc", "--ctc_name": "ctc.pth", "--model": "exp/psslm.zip"}
    unpack([word for pair in where.items() for word in pair])
    assert (recipe / "new/psslm/best.pth").read_text() == "bridge"
    assert (recipe / "new/ctc/ctc.pth").read_text() == "ctc"
    assert read_prompt_file("new/psslm/prompts.jsonl")[0]["task"] == "ASR"


def test_what_is_outside_lies_beside_meta(recipe, monkeypatch):
    from espnet_model_zoo.downloader import ModelDownloader

    from espnet_psslm.pack_files import open_pack

    content = "threshold: 0.5\nshare: 0.01\nnum_utts: 60\npairs: []\n"
    (recipe / "exp/of_dev.yaml").write_text(content)
    pack("--outside", "exp/of_dev.yaml")
    with zipfile.ZipFile("exp/psslm.zip") as archive:
        assert "outside.yaml" in archive.namelist()
        assert "`hypothesis.outside` is true" in archive.read("README.md").decode()
        archive.extractall(recipe / "unzipped")
    unpacked = ModelDownloader(recipe / "zoo").download_and_unpack(str(recipe / "exp/psslm.zip"))
    expected = (recipe / "exp/of_dev.yaml").read_text()
    moved = (recipe / "unzipped").rename(recipe / "moved")
    archive = open_pack(recipe / "exp/psslm.zip", cachedir=recipe / "cache")
    for files in (unpacked, archive, open_pack(moved)):
        assert Path(files["outside"]).name == "outside.yaml"
        assert Path(files["outside"]).read_text() == expected


@pytest.mark.parametrize(
    ("text", "match"), [(None, "no such file"), ("threshold: 2\n", "lacks 'share'")]
)
def test_what_says_nothing_of_outside(recipe, capsys, text, match):
    if text is not None:
        (recipe / "exp/outside.yaml").write_text(text)
    command = ["--outside", "exp/outside.yaml"]
    error = run_and_fail(lambda options: pack(*options), command, capsys)
    assert "exp/outside.yaml" in error and match in error
    assert not (recipe / "exp/psslm.zip").exists()


def test_members_and_card(recipe):
    pack("--title", "Mini")
    with zipfile.ZipFile("exp/psslm.zip") as archive:
        names = archive.namelist()
        card = archive.read("README.md").decode()
    assert sorted(names) == [
        "README.md",
        "ctc/5epoch.pth",
        "ctc/config.yaml",
        "meta.yaml",
        "prompts/multiprompt.jsonl",
        "psslm/config.yaml",
        "psslm/model.pth",
        "results/RESULTS.md",
        "units/bpe.model",
        "units/tokens.txt",
    ]
    assert card.startswith("# Mini\n")
    assert "`package://models/whisper`: from a Python package" in card
    assert f"`{recipe / 'base'}`: **local" in card
    assert "Speech by espeak-ng." in card
    assert "outside" not in card
    assert "| WER | 5 |" in card


def test_same_name_of_another_file_gets_a_number(recipe):
    (recipe / "exp/psslm_sft/bpe.model").write_text("other pieces")
    path = recipe / "exp/psslm_sft/config.yaml"
    config = yaml.safe_load(path.read_text()) | {"bpemodel": "exp/psslm_sft/bpe.model"}
    path.write_text(yaml.safe_dump(config))
    pack()
    with zipfile.ZipFile("exp/psslm.zip") as archive:
        packed = yaml.safe_load(archive.read("psslm/config.yaml"))
        ctc = yaml.safe_load(archive.read("ctc/config.yaml"))
        assert archive.read(packed["bpemodel"]) == b"other pieces"
        assert archive.read(ctc["bpemodel"]) == b"pieces"


def test_missing_file_is_named(recipe, capsys):
    (recipe / "conf/multiprompt.jsonl").unlink()
    error = run_and_fail(lambda command: pack(*command), [], capsys)
    assert "'prompt_file' names the file 'conf/multiprompt.jsonl'" in error
    assert not (recipe / "exp/psslm.zip").exists()


def test_bridge_without_acoustic_model(recipe, capsys):
    path = recipe / "exp/psslm_sft/config.yaml"
    config = yaml.safe_load(path.read_text()) | {"acoustic_conf": {}}
    path.write_text(yaml.safe_dump(config))
    error = run_and_fail(lambda command: pack(*command), [], capsys)
    assert "acoustic_conf names no train_config" in error


def test_a_pack_that_fails_leaves_the_old_one(recipe, monkeypatch):
    pack()
    before = (recipe / "exp/psslm.zip").read_bytes()
    listed = sorted(path.name for path in (recipe / "exp").iterdir())

    def full(archive, *names, **_):
        archive.fp.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(zipfile.ZipFile, "write", full)
        pack("--title", "Other")
    assert (recipe / "exp/psslm.zip").read_bytes() == before
    pack()
    assert sorted(path.name for path in (recipe / "exp").iterdir()) == listed
