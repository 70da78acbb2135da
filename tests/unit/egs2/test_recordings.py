"""Stage 1 of the recipe for recordings of one's own."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_psslm.data.kaldi import read_table
from tests.helpers import write_jsonl

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "egs2/recordings/psslm1"
FS = 16000
SENTENCES = (
    "The cat sat.", "The cat ran!", "the CAT sat", "the cat saw the dog", "the dog saw it",
    "the dog sat", "2 cats sat", "cat sat", "the cat saw zanzibar",
)  # fmt: skip


@pytest.fixture
def prepare(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "egs2/mini/psslm1/local"))
    path = RECIPE / "local/prepare_recordings.py"
    spec = importlib.util.spec_from_file_location("prepare_recordings", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_audio(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 0.1 * np.random.default_rng(0).standard_normal(FS // 2)
    soundfile.write(path, noise, FS)


@pytest.fixture
def corpus(tmp_path):
    """One Kaldi folder whose paths count from above it, one JSON Lines file, one text."""
    for split, texts in {"train": ["A DOG'S LIFE", "GO ON"], "test": ["THE DOG SAT"]}.items():
        folder = tmp_path / "kaldi" / split
        for n, _ in enumerate(texts):
            write_audio(folder / f"flac/{split}{n}.flac")
        (folder / "text").write_text("".join(f"{split}{n} {t}\n" for n, t in enumerate(texts)))
        (folder / "wav.scp").write_text(
            "".join(f"{split}{n} {split}/flac/{split}{n}.flac\n" for n, _ in enumerate(texts))
        )
        (folder / "utt2spk").write_text("".join(f"{split}{n} S\n" for n, _ in enumerate(texts)))
    write_audio(tmp_path / "flac/r1.flac")
    row = {"sentence": "One latte, please", "recordings": [{"file": "r1.flac"}]}
    write_jsonl(tmp_path / "rows.jsonl", [row])
    (tmp_path / "text.txt").write_text("\n".join(SENTENCES))
    return tmp_path


def options(corpus, **other):
    chosen = {
        "train": "kaldi/train rows.jsonl", "dev": "kaldi/test", "test": "own=kaldi/test",
        "sentences": "text.txt", "num_sentences": 2, "min_count": 2, "nj": 1,
        "base": corpus, "datadir": corpus / "data",
    } | other  # fmt: skip
    return [part for name, value in chosen.items() for part in (f"--{name}", *str(value).split())]


def test_recordings_at_three_speeds_and_spoken_sentences(prepare, corpus):
    prepare.main(options(corpus))
    data = corpus / "data"
    texts = read_table(data / "train/text")
    real = {utt: text for utt, text in texts.items() if "-spoken" not in utt}
    assert real == {
        f"{speed}{utt}": text
        for speed in ("", "sp0.9-", "sp1.1-")
        for utt, text in {
            "train0": "a dog's life", "train1": "go on", "r1": "one latte please"
        }.items()
    }  # fmt: skip
    spoken = texts.keys() - real.keys()
    assert len(spoken) == 2 and {texts[utt] for utt in spoken} <= {
        "the cat sat", "the cat saw the dog"
    }  # fmt: skip
    audio = read_table(data / "train/wav.scp")
    seconds = {utt: soundfile.info(path).duration for utt, path in audio.items()}
    assert seconds["train0"] == 0.5 and seconds["sp0.9-train0"] == pytest.approx(0.5 / 0.9, 1e-3)
    assert read_table(data / "train/utt2spk")["sp1.1-train1"] == "sp1.1-S"
    assert read_table(data / "test_own/text") == read_table(data / "dev/text")
    assert not (data / "train_text/wav.scp").exists()


def test_sentences_that_are_spoken(prepare, corpus):
    """Each once; none of the test set, with digits, of two words, or with a rare word."""
    found = prepare.usable_sentences([corpus / "text.txt"], min_count=2, held_out={"the dog sat"})
    assert found == ["the cat sat", "the cat saw the dog"]
    everything = prepare.usable_sentences([corpus / "text.txt"], min_count=1, held_out=())
    assert everything == [
        "the cat sat", "the cat ran", "the cat saw the dog", "the dog saw it", "the dog sat",
        "the cat saw zanzibar",
    ]  # fmt: skip


def test_without_sentences(prepare, corpus):
    given = options(corpus, speeds="1.0")
    first = given.index("--sentences")
    prepare.main(given[:first] + given[first + 2 :])
    assert read_table(corpus / "data/train/text").keys() == {"train0", "train1", "r1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_sentences": 9}, "--num_sentences 9: only 2 sentences are usable"),
        ({"test": "kaldi/test"}, "--test kaldi/test: write NAME=SOURCE"),
        ({"sentences": "gone.txt"}, "gone.txt: no such file"),
        ({"dev": "gone.jsonl"}, "gone.jsonl does not exist"),
        ({"train": "kaldi/train kaldi/train"}, "come more than once"),
    ],
)
def test_what_cannot_be_used(prepare, corpus, change, message, capsys):
    with pytest.raises(SystemExit):
        prepare.main(options(corpus, **change))
    assert message in capsys.readouterr().err


def test_a_recording_without_transcript(prepare, corpus):
    (corpus / "kaldi/train/text").write_text("train0 a\n")
    with pytest.raises(ValueError, match="lacks train1 of wav.scp"):
        prepare.read_source(corpus / "kaldi/train")


def test_one_command(corpus):
    """Names count from where one stands; test sets are called test_NAME."""
    command = [str(RECIPE / "run.sh"), "--python", sys.executable, "--stop_stage", "1"]
    for place in ("datadir", "dumpdir", "expdir"):
        command += [f"--{place}", f"{corpus}/{place}"]
    command += ["--train", "kaldi/train rows.jsonl", "--dev", "kaldi/test", "--test=a=kaldi/test "
                "b=rows.jsonl", "--local_data_opts", "--speeds 1.0"]  # fmt: skip
    done = subprocess.run(
        command, cwd=corpus, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((corpus / "datadir/test_b/psslm.jsonl").read_text())["utt"] == "r1"
    assert "dump/raw" not in done.stdout and "{train dev test_a test_b" in done.stderr
