"""Speech2Text, packs wherever they lie, and espnet-psslm transcribe: on tiny random models."""

import json
import os
import shutil
import sys
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from espnet_psslm.weights import MODELS_VARIABLE
from tests.ctc_setting import Setting
from tests.helpers import PROMPTS, save_language_model, write_jsonl
from tests.tiny_training import BRIDGE, files_in, train_bridge

OPTIONS = {"device": "cpu", "beam_size": 2, "max_new_tokens": 6, "nbest": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A trained tiny system: its folder, and its pack ``model.zip``."""
    from espnet_psslm.bin import asr_train, pack

    folder = tmp_path_factory.mktemp("world")
    setting = Setting(folder)
    # Long enough to hear units: where blanks alone are heard there is no answer.
    asr_train.main(setting.command(folder / "ctc", max_epoch=20, keep_nbest_models=1))
    save_language_model(folder / "lm")
    write_jsonl(folder / "prompts.jsonl", PROMPTS)
    config = BRIDGE | files_in(folder) | {"source": "no_audio"}
    train_bridge(folder / "exp", config, folder / "psslm.jsonl")
    options = ["--psslm_train_config", folder / "exp/config.yaml"]
    options += ["--psslm_model_file", folder / "exp/valid.loss.ave.pth"]
    pack.main([str(word) for word in [*options, "--outpath", folder / "model.zip"]])
    return folder


@pytest.fixture(scope="module")
def speech2text(world):
    from espnet_psslm.bin.psslm_inference import Speech2Text

    exp = world / "exp"
    return Speech2Text(exp / "config.yaml", exp / "valid.loss.ave.pth", **OPTIONS)


@pytest.fixture(scope="module")
def waves(world):
    return [soundfile.read(world / f"{i}.wav", dtype="float32")[0] for i in range(4)]


def read(result):
    return [(text, ids) for text, _, ids, _ in result]


def test_a_waveform_and_a_task(speech2text, waves):
    results = speech2text(waves[2], "SLU_scenario")
    assert len(results) == 2
    text, tokens, token_ids, hypothesis = results[0]
    assert token_ids and len(tokens) == len(token_ids)
    tokenizer = speech2text.decoder.answerer.tokenizer
    assert text == tokenizer.decode(token_ids, skip_special_tokens=True).strip()
    assert hypothesis.text == text and hypothesis.log_prob <= 0
    assert hypothesis.log_prob >= results[1][3].log_prob
    assert read(speech2text(torch.from_numpy(waves[2]), "SLU_scenario")) == read(results)
    assert speech2text.tasks == ["ASR", "SLU_scenario", "hotword"]


def test_a_batch_is_its_waveforms_one_by_one(speech2text, waves):
    batch = speech2text(waves)
    assert [read(result) for result in batch] == [read(speech2text(wave)) for wave in waves]
    assert speech2text([]) == []
    assert not speech2text.decoder.reader.remembered


def test_it_answers_as_the_manifest_is_answered(speech2text, world, waves):
    rows = [json.loads(line) for line in (world / "psslm.jsonl").read_text().splitlines()]
    expected = [h.token_ids for h in speech2text.decoder.decode(rows[:4])]
    assert [tuple(result[0][2]) for result in speech2text(waves)] == expected


def test_greedy_transcripts_are_checked_drafts_of_what_ctc_heard(world, waves, monkeypatch):
    from espnet_psslm.bin.psslm_inference import Speech2Text

    exp = world / "exp"
    options = OPTIONS | {"beam_size": 1, "nbest": 1}
    greedy = Speech2Text(exp / "config.yaml", exp / "valid.loss.ave.pth", **options)
    answerer, seen = greedy.decoder.answerer, []
    plain = answerer.model.answer
    monkeypatch.setattr(
        answerer.model,
        "answer",
        lambda *args, drafts, **more: seen.append(drafts) or plain(*args, drafts=drafts, **more),
    )
    found = greedy(waves)
    greedy(waves[0], "SLU_scenario")
    drafts, of_labels = seen
    assert of_labels is None
    tokenizer = answerer.tokenizer
    said = [tokenizer.decode(ids) for ids in drafts.token_ids]
    assert any(said) and len(said) == len(waves)
    first = tokenizer.encode("a b", add_special_tokens=False)
    assert [drafts.begins_word(token) for token in first] == [
        tokenizer.convert_ids_to_tokens(token)[0] == "\u0120" for token in first
    ]
    answerer.drafts = None
    assert [read(result) for result in greedy(waves)] == [read(result) for result in found]


def test_prompts_with_fields_and_other_rates(speech2text, waves):
    assert speech2text(waves[0], "hotword", hotword="light")[0][0] is not None
    double = np.repeat(waves[0], 2)
    assert len(speech2text(double, fs=32000)) == 2
    with pytest.raises(ValueError, match="hotword"):
        speech2text(waves[0], "hotword")


@pytest.mark.parametrize(
    ("speech", "match"),
    [
        (np.zeros((2, 9), dtype=np.float32), r"shape \(2, 9\): needs \(N,\)"),
        (np.array([0.1, np.nan, 0.1]), "not finite"),
        (torch.tensor([0.1, -torch.inf]), "not finite"),
        (np.array([0.0, 23170.0]), "up to 23170, where 1 is full scale"),
        (np.zeros(0, dtype=np.float32), "needs"),
        (np.zeros(9, dtype=np.int16), "int16: needs floating point"),
    ],
)
def test_what_is_no_waveform(speech2text, speech, match):
    with pytest.raises(ValueError, match=match):
        speech2text(speech)


def test_subtitles_behind_each_other_are_the_whole(speech2text, waves):
    whole = np.concatenate(waves)[:-7]  # frames are longer
    found = speech2text.subtitles(whole, longest_s=0.3)
    starts, ends, hypotheses = zip(*found, strict=True)
    assert starts == (0.0, *ends[:-1]) and ends[-1] == len(whole) / 16000
    assert len(found) > 2 and max(b - a for a, b in zip(starts, ends, strict=True)) <= 0.3 + 1e-9
    assert any(hypothesis.token_ids for hypothesis in hypotheses)


def test_subtitles_need_silences(speech2text, waves, monkeypatch):
    [sample] = speech2text._hear([waves[0]], "ASR", {})
    unknown = replace(sample, heard=replace(sample.heard, blank=None))
    monkeypatch.setattr(speech2text, "_hear", lambda *_: [unknown])
    with pytest.raises(ValueError, match="without CTC no silence is found to cut at"):
        speech2text.subtitles(waves[0], longest_s=1.0)


def answers(model, waves):
    from espnet_psslm.inference.speech2text import Speech2Text

    return [read(r) for r in Speech2Text.from_pretrained(model, **OPTIONS)(waves)]


def listing(folder):
    """What is in a folder, with sizes and times: to see that nobody writes there."""
    stats = {path: path.stat() for path in [folder, *folder.rglob("*")]}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of folders by name, and whether it can be reached; a commit is ``of`` its revision."""
    from espnet_model_zoo import downloader
    from huggingface_hub.errors import DryRunError

    asked, folders = [], {}

    def fetch(name, *, revision, dry_run=False, **options):
        if dry_run and (name not in folders or not found.reached):
            raise DryRunError("Dry run cannot be performed")
        if dry_run:
            files = [path for path in folders[name].rglob("*") if path.is_file()]
            commit = {"commit_hash": f"of {revision}"}
            return [SimpleNamespace(file_size=path.stat().st_size, **commit) for path in files]
        asked.append((name, revision))
        if name not in folders:
            raise OSError(f"404 Client Error: {name}\nTry again later")
        return str(folders[name])

    monkeypatch.setattr(downloader, "snapshot_download", fetch)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = SimpleNamespace(asked=asked, folders=folders, reached=True)
    return found


def test_a_hub_name_is_fetched(speech2text, world, waves, hub, tmp_path):
    """As stage 15 uploads it: the contents of the archive."""
    with zipfile.ZipFile(world / "model.zip") as content:
        content.extractall(tmp_path / "snapshot")
    hub.folders["somebody/psslm"] = tmp_path / "snapshot"
    expected = [read(result) for result in speech2text(waves)]
    for name in ("ctc", "units", "prompts.jsonl", "exp"):  # of the training: gone
        (world / name).rename(world / f"{name}.gone")
    try:
        assert answers("somebody/psslm", waves) == expected
        assert answers("somebody/psslm@v2", waves) == expected
        hub.reached = False
        assert answers("somebody/psslm", waves) == expected
    finally:
        for name in ("ctc", "units", "prompts.jsonl", "exp"):
            (world / f"{name}.gone").rename(world / name)
    assert [revision for _, revision in hub.asked] == ["of None", "of v2", None]


def test_a_hub_name_has_the_limits_of_archives(hub, tmp_path):
    from espnet_psslm.pack_files import open_pack

    (tmp_path / "large").mkdir()
    with open(tmp_path / "large/model.pth", "wb") as file:
        file.truncate(21_000_000_000)  # on the disk it takes nothing
    hub.folders["somebody/large"] = tmp_path / "large"
    with pytest.raises(ValueError, match="^packed model somebody/large: holds 21 GB") as error:
        open_pack("somebody/large")
    assert "raise --max_unpacked_gb" in str(error.value) and not hub.asked
    with pytest.raises(ValueError, match="no meta.yaml"):
        open_pack("somebody/large", max_unpacked_gb=22)
    for number in range(10_000):
        (tmp_path / f"large/{number}").touch()
    with pytest.raises(ValueError, match="holds more than 10000 files"):
        open_pack("somebody/large", max_unpacked_gb=22)


def test_a_hub_name_that_cannot_be_fetched(hub):
    from espnet_psslm.inference.speech2text import Speech2Text

    with pytest.raises(ValueError, match="user/gone: is no file.*OSError: 404.*stage 15") as error:
        Speech2Text.from_pretrained("user/gone")
    assert "\n" not in str(error.value)


def test_a_pack_answers_wherever_it_lies(speech2text, world, waves, tmp_path, monkeypatch):
    """An archive; unpacked by the model zoo; moved; by unzip; in a folder that is read only."""
    from espnet_model_zoo.downloader import ModelDownloader

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    expected = [read(result) for result in speech2text(waves)]
    archive = shutil.copy(world / "model.zip", tmp_path / "other.zip")
    assert answers(archive, waves) == expected
    ModelDownloader(tmp_path / "zoo").download_and_unpack(str(archive))
    [unpacked] = [p for p in (tmp_path / "zoo").iterdir() if p.is_dir()]
    moved = unpacked.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    for name in ("ctc", "units", "prompts.jsonl", "exp"):  # of the training: gone
        (world / name).rename(world / f"{name}.gone")
    try:
        assert answers(moved, waves) == expected
        with zipfile.ZipFile(archive) as content:
            content.extractall(tmp_path / "unzipped")
        for path in [*(tmp_path / "unzipped").rglob("*"), tmp_path / "unzipped"]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = listing(tmp_path / "unzipped")  # root may write where nobody may
        assert answers("unzipped", waves) == expected
        assert listing(tmp_path / "unzipped") == before and len(before) > 5
    finally:
        for path in [tmp_path / "unzipped", *(tmp_path / "unzipped").rglob("*")]:
            path.chmod(0o755)
        for name in ("ctc", "units", "prompts.jsonl", "exp"):
            (world / f"{name}.gone").rename(world / name)


def test_an_archive_that_was_made_anew_is_unpacked_anew(world, tmp_path):
    from espnet_psslm.pack_files import open_pack

    archive = shutil.copy(world / "model.zip", tmp_path / "model.zip")
    first = open_pack(archive, cachedir=tmp_path / "cache")
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr("results/new.md", "new")
    second = open_pack(archive, cachedir=tmp_path / "cache")
    assert first != second and first.keys() == second.keys()


def test_base_models_in_a_folder(speech2text, world, waves, tmp_path, monkeypatch):
    expected = [read(result) for result in speech2text(waves)]
    for name in ("lm", "whisper"):
        shutil.copytree(world / name, tmp_path / name)
        (world / name).rename(world / f"{name}.gone")
    try:
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(ValueError, match="cannot be loaded"):
            answers(world / "model.zip", waves)
        monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path))
        assert answers(world / "model.zip", waves) == expected
    finally:
        for name in ("lm", "whisper"):
            (world / f"{name}.gone").rename(world / name)


@pytest.mark.parametrize(
    ("name", "match"),
    [("none.zip", "none.zip: no such file"), ("empty", "no meta.yaml"), ("bad.zip", "bad.zip")],
)
def test_what_is_no_pack(tmp_path, name, match):
    from espnet_psslm.pack_files import open_pack

    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as content:
        content.writestr("a", "b")
    with pytest.raises(ValueError, match=match):
        open_pack(tmp_path / name, cachedir=tmp_path)


@pytest.fixture
def transcribe(world, monkeypatch, tmp_path):
    from espnet_psslm.bin.espnet_psslm import main

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(world)
    monkeypatch.setattr(sys, "argv", ["espnet-psslm"])

    def run(*words):
        limits = ("--device", "cpu", "--beam_size", "2", "--max_new_tokens", "6")
        model = () if "--model" in words else ("--model", "model.zip")
        main(["transcribe", *model, *limits, *words])

    return run


def test_text_and_json(transcribe, speech2text, waves, capsys):
    texts = [" ".join(result[0][0].split()) for result in speech2text(waves[:2], "SLU_scenario")]
    transcribe("0.wav", "--task", "SLU_scenario")
    assert capsys.readouterr().out == f"{texts[0]}\n"
    transcribe("0.wav", "1.wav", "--task", "SLU_scenario")
    assert capsys.readouterr().out == f"0.wav\t{texts[0]}\n1.wav\t{texts[1]}\n"
    transcribe("0.wav", "--task", "SLU_scenario", "--format", "json")
    row = json.loads(capsys.readouterr().out)
    assert (row["file"], row["task"]) == ("0.wav", "SLU_scenario")
    assert row["duration_s"] == round(len(waves[0]) / 16000, 3) and row["score"] <= 0


def test_subtitles_of_any_rate(transcribe, waves, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.repeat(np.concatenate(waves * 3), 2), 32000)
    transcribe(
        *(str(tmp_path / "a.wav"), "2.wav", "--format", "srt", "--segment_s", "1"),
        *("--output_dir", str(tmp_path / "out")),
    )
    lines = (tmp_path / "out/a.srt").read_text().splitlines()
    assert lines[0] == "1" and lines[1].startswith("00:00:00,000 --> 00:00:00,")
    assert "2" in lines
    assert (tmp_path / "out/2.srt").is_file()


def test_standard_input(transcribe, waves, world, capsys, tmp_path):
    """The file is the process's own standard input, since a process below reads it."""

    def heard(source, *words):
        kept = os.dup(0)
        try:
            with open(world / "0.wav", "rb") as stream:
                os.dup2(stream.fileno(), 0)
            transcribe(source, "--task", "SLU_scenario", *words)
        finally:
            os.dup2(kept, 0)
            os.close(kept)
        return capsys.readouterr().out

    text = heard("0.wav")
    assert heard("-") == text and len(text.splitlines()) == 1
    row = json.loads(heard("0.wav", "--format", "json"))
    assert json.loads(heard("-", "--format", "json")) == row | {"file": "-"}
    assert row["duration_s"] == round(len(waves[0]) / 16000, 3)
    assert heard("-", "--output_dir", str(tmp_path / "out")) == ""
    assert (tmp_path / "out/stdin.txt").read_text(encoding="utf-8") == text


def test_a_bad_file_does_not_stop_the_others(transcribe, world, capsys, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    with pytest.raises(SystemExit) as exit_:
        transcribe(str(tmp_path / "bad.wav"), "0.wav")
    said = capsys.readouterr()
    assert exit_.value.code == 1
    assert said.out.startswith("0.wav\t")
    assert said.err.endswith("transcribe: error: 1 of 2 files failed\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["0.wav", "--task", "EN2DE"], "--task EN2DE: the model knows ASR, SLU_scenario, hotword"),
        (["0.wav", "1.wav", "--format", "srt"], "several files needs --output_dir"),
        (["0.wav", "--field", "x"], "--field x: write NAME=VALUE"),
        (["0.wav", "--psslm_model_file", "x"], "give --model, or"),
        (["0.wav", "x/0.wav", "--output_dir", "x"], "two of the files have the same name"),
    ],
)
def test_bad_options_end_in_one_line(transcribe, capsys, words, message):
    with pytest.raises(SystemExit):
        transcribe(*words)
    assert message in capsys.readouterr().err


def test_the_commands_are_listed(capsys):
    from espnet_psslm.bin.espnet_psslm import main

    main(["--help"])
    assert "transcribe" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["nonsense"])
    assert "usage: espnet-psslm COMMAND" in capsys.readouterr().err


def test_clock():
    from espnet_psslm.bin.transcribe import clock

    assert clock(3725.0456) == "01:02:05,046"
    assert clock(59.9996) == "00:01:00,000"
