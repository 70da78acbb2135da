"""SLURP without its audio: stage 1 of egs2/slurp/psslm1/run_spoken.sh."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from espnet_psslm.data.kaldi import read_table
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
)  # fmt: skip


@pytest.fixture
def prepare(monkeypatch):
    for recipe in ("mini", "recordings", "slurp"):
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
    write_jsonl(folder / "devel.jsonl", [slurp_row(10, "dim the light", "iot_hue_lightdim", [])])
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
    return tmp_path


def options(corpus, **other):
    chosen = {
        "corpus": corpus / "slurp", "base": corpus, "datadir": corpus / "data", "nj": 1,
        "extra_text": "more.jsonl", "recordings": "own.jsonl", "test": "own=own.jsonl",
        "synthesize": 3, "synthesize_dev": 1, "synthesize_test": 2,
    } | other  # fmt: skip
    return [part for name, value in chosen.items() for part in (f"--{name}", *str(value).split())]


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_data_folders(prepare, corpus):
    prepare.main(options(corpus))
    data = corpus / "data"
    texts = {name: read_table(data / name / "text") for name in ("train", "dev", "test_spoken")}
    assert [len(table) for table in texts.values()] == [3 + 1, 1, 2]
    assert texts["train"].pop("r1") == "one small latte"
    assert set(texts["train"].values()) <= {row["sentence"] for row in TRAIN}
    for path in read_table(data / "test_spoken/wav.scp").values():
        audio = soundfile.info(path)
        assert audio.samplerate == 16000 and audio.duration > 0.3
    speakers = {
        name: set(read_table(data / name / "utt2spk").values()) for name in ("train", "dev")
    }
    assert not speakers["train"] & speakers["dev"]
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


FLITE = """#!{python}
import sys
import numpy as np
import soundfile
if sys.argv[1:] == ["-lv"]:
    print("Voices available: kal awb_time slt ")
else:
    assert sys.argv[1:6:2] == ["-voice", "-t", "-o"], sys.argv
    rate = {{"kal": 8000, "slt": 16000}}[sys.argv[2]]
    count = 0 if "dumb" in sys.argv[4] else rate
    soundfile.write(sys.argv[6], 0.1 * np.sin(np.arange(count)), rate)
"""
FESTIVAL = """#!{python}
print("(kal_diphone ked_diphone)")
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A flite that hums, a festival without text2wave; nothing else is on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, text in {"flite": FLITE, "festival": FESTIVAL}.items():
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def installed(prepare):
    return sys.modules["installed_voices"]


def test_voices_of_what_is_installed(installed, programs):
    voices = installed.installed_voices()
    assert [(v.name, v.espeak, v.split) for v in voices] == [
        ("flite-kal", "flite:kal", "train"), ("flite-slt", "flite:slt", "train"),
    ]  # fmt: skip
    (programs / "text2wave").write_text("#!/bin/true\n")
    (programs / "text2wave").chmod(0o755)
    names = [voice.espeak for voice in installed.installed_voices()]
    assert names[2:] == ["festival:kal_diphone", "festival:ked_diphone"]


def test_flite_speaks_at_16_khz(installed, programs):
    for voice in ("flite:kal", "flite:slt"):
        said = installed.Flite().say("hello", voice=voice, pitch=1, rate=1, word_gap=1)
        assert said.shape == (16000,) and said.dtype == "float32" and 0 < abs(said).max() < 0.2
    with pytest.raises(ValueError, match="flite:slt said nothing for 'dumb'"):
        installed.Flite().say("dumb", voice="flite:slt")
    with pytest.raises(ValueError, match="flite:gone cannot say 'hello'.*--installed false"):
        installed.Flite().say("hello", voice="flite:gone")


@pytest.mark.parametrize("chosen", ["true", "false"])
def test_installed_voices_speak_training_sentences_only(
    prepare, programs, corpus, chosen, monkeypatch
):
    few = {voice.split: voice for voice in prepare.read_voices()}.values()  # they come in turns
    monkeypatch.setattr(prepare, "read_voices", lambda _: list(few))
    prepare.main(options(corpus, synthesize=6, installed=chosen))
    speakers = {
        name: set(read_table(corpus / f"data/{name}/utt2spk").values())
        for name in ("train", "dev", "test_spoken")
    }
    spoken = {name for name in speakers["train"] if name.startswith("flite-")}
    assert bool(spoken) == (chosen == "true")
    assert not any(name.startswith("flite") for name in speakers["dev"] | speakers["test_spoken"])
    for path in read_table(corpus / "data/train/wav.scp").values():
        assert soundfile.info(path).samplerate == 16000


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
    assert message in capsys.readouterr().err


def test_one_command(corpus):
    """Names count from where one stands; the sets are those that later stages will look for."""
    command = [str(RECIPE / "run_spoken.sh"), "--python", sys.executable, "--stop_stage", "1"]
    for place in ("datadir", "dumpdir", "expdir"):
        command += [f"--{place}", f"{corpus}/{place}"]
    command += ["--synthesize=1", "--extra_text", "more.jsonl", "--test", "own=own.jsonl"]
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
