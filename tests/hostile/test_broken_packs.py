"""Packs that are cut, came as something else, or hold what no pack does: one line each."""

import os
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from espnet_psslm.bin import adapt, transcribe, unpack
from tests.refusal import refusal, sampled


def copy_without(path: Path, good: Path, left_out: str = "", **changed: bytes) -> None:
    """A copy of a pack, a member of it left out, others changed or added."""
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w") as copy:
        for name in source.namelist():
            if name != left_out and name not in changed:
                copy.writestr(name, source.read(name))
        for name, content in changed.items():
            copy.writestr(name, content)


def cut(path: Path, good: Path) -> None:
    path.write_bytes(good.read_bytes()[:3000])


def damaged(path: Path, good: Path) -> None:
    content = bytearray(good.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 500] = bytes(500)
    path.write_bytes(content)


def with_meta(content: bytes):
    return lambda path, good: copy_without(path, good, **{"meta.yaml": content})


def with_config(content: bytes):
    return lambda path, good: copy_without(path, good, **{"psslm/config.yaml": content})


def linked(path: Path, good: Path) -> None:
    copy_without(path, good)
    info = zipfile.ZipInfo("psslm/link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, "/etc/passwd")


def bomb(path: Path, good: Path) -> None:
    copy_without(path, good)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(200_000_000))


def two_names(names: dict) -> bytes:
    return yaml.safe_dump({"files": names, "yaml_files": {}}).encode()


# How each is made of a good pack, and what is said of it.
PACKS = {
    "empty": (lambda path, good: path.touch(), "is empty; fetch it again"),
    "cut": (cut, "is broken"),
    "damaged": (damaged, "is broken"),
    "web page": (lambda path, good: path.write_text("<!DOCTYPE html><html>"), "is a web page"),
    "git-lfs": (lambda path, good: path.write_text("version https://git-lfs.x"), "git lfs pull"),
    "text": (lambda path, good: path.write_text("a pack"), "is broken"),
    "tar by the name of zip": (
        lambda path, good: tarfile.open(path, "w").close(), "is broken"
    ),
    "no meta.yaml": (lambda path, good: copy_without(path, good, "meta.yaml"), "no meta.yaml"),
    "empty meta.yaml": (with_meta(b""), "meta.yaml lacks 'files'"),
    "list as meta.yaml": (with_meta(b"- files\n"), "meta.yaml lacks 'files'"),
    "tab in meta.yaml": (with_meta(b"files:\n\tx: y\n"), "meta.yaml:2: no YAML"),
    "brace in meta.yaml": (with_meta(b"files: {x: y\n"), "no YAML"),
    "latin-1 in meta.yaml": (with_meta(b"files: {x: \xff}\n"), "meta.yaml: not UTF-8"),
    "deep meta.yaml": (with_meta(b"[" * 200_000), "meta.yaml: nested too deeply"),
    "numbers in meta.yaml": (with_meta(b"files: {x: 1}\nyaml_files: {}\n"), "lacks 'files'"),
    "names outside": (with_meta(two_names({"x": "../x"})), "which is not in the pack"),
    "absolute names": (with_meta(two_names({"x": "/etc/passwd"})), "which is not in the pack"),
    "names of nothing": (with_meta(two_names({"x": "none"})), "there is no such file"),
    "no bridge": (with_meta(two_names({})), "no psslm_train_config"),
    "model left out": (
        lambda path, good: copy_without(path, good, "psslm/model.pth"), "there is no such file"
    ),
    "tab in its configuration": (with_config(b"a:\n\tx: y\n"), "config.yaml:2: no YAML"),
    "empty configuration": (with_config(b""), "config.yaml"),
    "empty checkpoint": (
        lambda path, good: copy_without(path, good, **{"psslm/model.pth": b""}),
        "model.pth: is empty",
    ),
    "garbage as bpe.model": (
        lambda path, good: copy_without(path, good, **{"units/bpe.model": b"pieces"}),
        "bpe.model: is no SentencePiece model",
    ),
    "garbage as prompts": (
        lambda path, good: copy_without(path, good, **{"prompts/prompts.jsonl": b"ASR\n"}),
        "prompts.jsonl:1: no JSON",
    ),
    "link": (linked, "holds a link"),
    "way out": (
        lambda path, good: copy_without(path, good, **{"../out": b""}), "leads out of its folder"
    ),
    "bomb": (bomb, "would unpack to more than"),
    "pipe": (lambda path, good: os.mkfifo(path), "is a pipe"),
    "folder": (lambda path, good: path.mkdir(), "holds no meta.yaml"),
}  # fmt: skip


@pytest.mark.parametrize("name", sampled(PACKS))
def test_one_line_says_what_came(system, tmp_path, capsys, monkeypatch, name):
    monkeypatch.setenv("ESPNET_PSSLM_CACHE", str(tmp_path / "cache"))
    make, words = PACKS[name]
    path = tmp_path / "given.zip"
    make(path, system.folder / "model.zip")
    audio = str(system.folder / "0.wav")
    said = refusal(transcribe.main, [audio, "--model", str(path), "--device", "cpu"], capsys)
    assert words in said
    assert not list((tmp_path / "cache").glob("packs/.*.tmp"))


ARCHIVES = ("empty", "cut", "web page", "git-lfs", "tab in meta.yaml", "no bridge", "pipe")


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("command", ["unpack", "adapt"])
def test_other_commands_say_the_same(system, tmp_path, capsys, monkeypatch, command, name):
    monkeypatch.setenv("ESPNET_PSSLM_CACHE", str(tmp_path / "cache"))
    make, words = PACKS[name]
    path = tmp_path / "given.zip"
    make(path, system.folder / "model.zip")
    if command == "unpack":
        options = ["--psslm_exp", tmp_path / "exp", "--psslm_name", "x.pth"]
        options += ["--ctc_exp", tmp_path / "ctc", "--ctc_name", "y.pth"]
        main = unpack.main
    else:
        (tmp_path / "text").write_text("low mid high\n")
        options = ["--text", tmp_path / "text", "--output", tmp_path / "new.zip"]
        main = adapt.main
    said = refusal(main, ["--model", str(path), *map(str, options)], capsys)
    assert words in said and str(path) in said
    assert not (tmp_path / "exp").exists() and not (tmp_path / "new.zip").exists()
