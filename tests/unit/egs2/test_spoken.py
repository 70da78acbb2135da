"""SLURP without its audio: stage 1 of egs2/slurp/psslm1/run_spoken.sh."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import soundfile

from espnet_psslm.data.kaldi import read_table
from espnet_psslm.recipe.voices.table import SPLITS
from espnet_psslm.text.prompt import read_prompt_file
from tests.corpora import slurp_row, write_clip
from tests.helpers import write_jsonl

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "egs2/slurp/psslm1"
TIME = {"entities": [{"span": [3, 4], "type": "time"}]}
TRAIN = (
    slurp_row(1, "wake me at seven thirty", "alarm_set", [], **TIME),
    slurp_row(2, "wake me at six thirty", "alarm_set", [], **TIME),
    slurp_row(3, "play some jazz please", "play_music", []),
    slurp_row(4, "play some slow jazz", "play_music", [],
              entities=[{"span": [2, 3], "type": "music_genre"}]),
    slurp_row(5, "stop", "audio_volume_mute", []),  # too short for an example
    slurp_row(6, "turn the music down", "audio_volume_down", []),
    slurp_row(7, "wake me at 7 30", "alarm_set", [], **TIME),  # is never spoken
)  # fmt: skip


@pytest.fixture
def prepare(monkeypatch):
    for recipe in ("recordings", "slurp"):
        monkeypatch.syspath_prepend(str(ROOT / f"egs2/{recipe}/psslm1/local"))
    spec = importlib.util.spec_from_file_location(
        "prepare_spoken", RECIPE / "local/prepare_spoken.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def corpus(tmp_path):
    """SLURP's text without train.jsonl, training sentences beside it, one recording."""
    folder = tmp_path / "slurp/dataset/slurp"
    folder.mkdir(parents=True)
    devel = [
        slurp_row(10, "dim the light", "iot_hue_lightdim", []),
        slurp_row(11, "dim it", "iot_hue_lightdim", []),
    ]
    write_jsonl(folder / "devel.jsonl", devel)
    tests = [
        slurp_row(20, "set an alarm", "alarm_set", []),
        slurp_row(21, "play jazz", "play_music", []),
        slurp_row(22, "set an alarm", "alarm_set", []),  # the same sentence counts again
    ]
    write_jsonl(folder / "test.jsonl", tests)
    write_jsonl(tmp_path / "more.jsonl", TRAIN)
    own = slurp_row(30, "one small latte", "takeaway_order", ["r1.flac"],
                    entities=[{"span": [1], "type": "size"}])  # fmt: skip
    write_jsonl(tmp_path / "own.jsonl", [own])
    write_clip(tmp_path / "flac/r1.flac", rate=16000)
    # A voice for each split, of that name.
    table = "".join(f"{split} espeak en-us 1 1 50 1 {split}\n" for split in SPLITS)
    (tmp_path / "voices.txt").write_text(table)
    return tmp_path


def options(corpus, **other):
    chosen = {
        "corpus": corpus / "slurp", "base": corpus, "datadir": corpus / "data", "nj": 1,
        "extra_text": "more.jsonl", "recordings": "own.jsonl", "test": "own=own.jsonl",
        "synthesize": 3, "synthesize_dev": 2, "synthesize_test": 2,
        "voices": "espeak", "voice_table": corpus / "voices.txt",
    } | other  # fmt: skip
    return [part for name, value in chosen.items() for part in (f"--{name}", *str(value).split())]


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_data_folders(prepare, corpus):
    prepare.main(options(corpus))
    data = corpus / "data"
    texts = {name: read_table(data / name / "text") for name in ("train", "dev", "test_spoken")}
    assert [len(table) for table in texts.values()] == [3 + 1, 2, 2]
    assert texts["train"].pop("r1") == "one small latte"
    assert set(texts["train"].values()) <= {row["sentence"] for row in TRAIN}
    for path in read_table(data / "test_spoken/wav.scp").values():
        audio = soundfile.info(path)
        assert audio.samplerate == 16000 and audio.duration > 0.3
    # All of the test sentences, each as often as SLURP has it.
    assert len(read_table(data / "test_text/text")) == 3
    asked = rows(data / "test_text/psslm.jsonl")
    assert not any("path" in row for row in asked)
    assert {row["task"] for row in asked} == {"SLU_scenario", "SLU_action", "SLU_entities"}
    entities = [r["target"] for r in rows(data / "test_own/psslm.jsonl") if r["task"][-3:] == "ies"]
    assert entities == ["takeaway | order | size: small"]


def test_prompts_name_the_labels_of_training(prepare, corpus):
    prepare.main(options(corpus))
    prompts = {row["task"]: row for row in read_prompt_file(corpus / "data/prompts.jsonl")}
    assert list(prompts) == ["ASR", "SLU_scenario", "SLU_action", "SLU_entities"]
    assert prompts["SLU_scenario"]["labels"] == ["alarm", "audio", "play"]
    assert prompts["SLU_action"]["labels"] == ["music", "set", "volume_down", "volume_mute"]
    trained = rows(corpus / "data/train_text/psslm.jsonl")
    for task in ("SLU_scenario", "SLU_action"):
        labels = {row["target"] for row in trained if row["task"] == task}
        assert sorted(labels) == prompts[task]["labels"]


def test_voices_and_rooms_of_each_set(prepare, corpus, monkeypatch):
    """Development and test sets have the plain and the natural voices that are theirs."""
    plan, speak = Mock(wraps=prepare.plan_utterances), Mock(wraps=prepare.speak_all)
    monkeypatch.setattr(prepare, "plan_utterances", plan)
    monkeypatch.setattr(prepare, "speak_all", speak)
    prepare.main(options(corpus, synthesize=6))
    speakers = {
        name: set(read_table(corpus / f"data/{name}/utt2spk").values())
        for name in ("train", "dev", "test_spoken")
    }
    assert speakers == {
        "train": {"train", "r1"},
        "dev": {"dev", "dev_natural"},
        "test_spoken": {"test", "test_natural"},
    }
    assert [call.kwargs["rooms"] for call in plan.call_args_list] == [True] * 3
    assert speak.call_count == 1  # all sets at once keep the processes busy


def test_a_sentence_with_digits_is_never_spoken(prepare, corpus):
    prepare.main(options(corpus, synthesize=6))
    texts = {name: read_table(corpus / f"data/{name}/text") for name in ("train", "train_text")}
    assert "wake me at 7 30" in texts["train_text"].values()
    spoken = {text for utt, text in texts["train"].items() if utt != "r1"}
    assert spoken == {row["sentence"] for row in TRAIN[:6]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"synthesize": 7}, "--synthesize 7: only 6 sentences can be spoken"),
        ({"test": "own.jsonl"}, "--test own.jsonl: write NAME=SOURCE"),
        ({"test": "text=own.jsonl"}, "spoken and text are taken"),
        ({"recordings": "gone.jsonl"}, "gone.jsonl does not exist"),
        ({"extra_text": "plain.txt"}, "name a file of SLURP's format with --extra_text"),
    ],
)
def test_what_cannot_be_used(prepare, corpus, change, message, capsys):
    (corpus / "plain.txt").write_text("wake me at seven thirty\n")
    with pytest.raises(SystemExit):
        prepare.main(options(corpus, **change))
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1
    assert not (corpus / "data").exists()


def test_one_command(corpus):
    """Names count from where one stands; the sets are those that later stages will look for."""
    command = [str(RECIPE / "run_spoken.sh"), "--python", sys.executable, "--stop_stage", "1"]
    for place in ("datadir", "dumpdir", "expdir"):
        command += [f"--{place}", f"{corpus}/{place}"]
    command += ["--synthesize=1", "--extra_text", "more.jsonl", "--test", "own=own.jsonl"]
    command += ["--voices", "espeak"]
    command += ["--local_data_opts", "--synthesize_dev 1 --synthesize_test 1"]
    done = subprocess.run(
        command, cwd=corpus, capture_output=True, text=True, check=False,
        env=os.environ | {"SLURP": str(corpus / "slurp")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "{train dev test_spoken test_own,train_text}" in done.stderr
    assert len(read_table(corpus / "datadir/train/text")) == 1
    assert (corpus / "datadir/test_own/wav.scp").is_file()
    said = (corpus / "expdir/commands.txt").read_text()
    assert said.startswith("egs2/slurp/psslm1/run_spoken.sh --python")
