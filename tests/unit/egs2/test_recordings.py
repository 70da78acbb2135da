"""Stage 1 of the recipe for recordings of one's own."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile

from espnet_psslm.data.kaldi import read_table
from espnet_psslm.recipe.voices.table import read_voices
from tests.helpers import write_jsonl

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "egs2/recordings/psslm1"
FS = 16000
SENTENCES = (
    "The cat sat.", "The cat ran!", "the CAT sat", "the cat saw the dog", "the dog saw it",
    "the dog sat", "2 cats sat", "cat sat", "the cat saw zanzibar",
)  # fmt: skip


@pytest.fixture
def prepare():
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
        "sentences": "text.txt", "num_sentences": 2, "min_count": 2, "nj": 1, "voices": "espeak",
        "base": corpus, "datadir": corpus / "data",
    } | other  # fmt: skip
    return [
        part
        for name, value in chosen.items()
        if value is not None
        for part in (f"--{name}", *str(value).split())
    ]


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


def test_a_sentence_with_digits_is_never_spoken(prepare, corpus):
    lines = [f"the cat sat {number}" for number in range(20)] + ["The cat sat."]
    (corpus / "text.txt").write_text("\n".join(lines))
    prepare.main(options(corpus, train=None, num_sentences=1, min_count=1))
    assert list(read_table(corpus / "data/train/text").values()) == ["the cat sat"]


def test_recordings_alone(prepare, corpus, monkeypatch):
    """No voice is asked for, so none has to be installed."""
    monkeypatch.setattr(prepare, "find_voices", Mock(side_effect=AssertionError))
    prepare.main(options(corpus, speeds="1.0", sentences=None))
    assert read_table(corpus / "data/train/text").keys() == {"train0", "train1", "r1"}
    assert not (corpus / "data/speech").exists()


def test_spoken_sentences_alone(prepare, corpus, monkeypatch):
    """In voices of training, in rooms; dev and test are recordings all the same."""
    plan = Mock(wraps=prepare.plan_utterances)
    monkeypatch.setattr(prepare, "plan_utterances", plan)
    prepare.main(options(corpus, train=None, min_count=1, num_sentences=5))
    assert plan.call_args.kwargs["rooms"]
    data = corpus / "data"
    spoken = read_table(data / "train/text").values()
    assert len(spoken) == 5
    speakers = set(read_table(data / "train/utt2spk").values())
    assert speakers <= {v.name for v in read_voices(engines=["espeak"]) if v.split == "train"}
    assert set(read_table(data / "train_text/text").values()) == set(spoken)
    assert read_table(data / "dev/text") == {"test0": "the dog sat"}
    assert not (data / "train_real").exists()


def test_a_sentence_of_others_is_not_spoken(prepare, corpus):
    row = {"sentence": "The cat sat!", "recordings": [{"file": "r1.flac"}]}
    write_jsonl(corpus / "others.jsonl", [row])
    prepare.main(options(corpus, train=None, num_sentences=1, not_spoken="others.jsonl"))
    for part in ("train", "train_text"):
        texts = read_table(corpus / "data" / part / "text").values()
        assert list(texts) == ["the cat saw the dog"]


def test_what_was_spoken_is_kept(prepare, corpus):
    given = options(corpus, train=None)
    prepare.main(given)
    before = {p.name: p.stat().st_mtime_ns for p in (corpus / "data/speech").iterdir()}
    assert len(before) == 2
    prepare.main(given)
    assert before == {p.name: p.stat().st_mtime_ns for p in (corpus / "data/speech").iterdir()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_sentences": 9}, "--num_sentences 9: only 2 sentences are usable"),
        ({"test": "kaldi/test"}, "--test kaldi/test: write NAME=SOURCE"),
        ({"sentences": "gone.txt"}, "gone.txt: no such file"),
        ({"dev": "gone.jsonl"}, "gone.jsonl does not exist"),
        ({"train": "kaldi/train kaldi/train"}, "come more than once"),
        ({"train": None, "sentences": None}, "there is nothing to train on: name recordings with"),
        ({"train": None, "num_sentences": 0}, "with --sentences (--num_sentences above 0)"),
    ],
)
def test_what_cannot_be_used(prepare, corpus, change, message, capsys):
    with pytest.raises(SystemExit):
        prepare.main(options(corpus, **change))
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1
    assert not (corpus / "data/train").exists()


@pytest.mark.parametrize("voices", ["espeak gone", "espeak flite"])
def test_who_may_not_speak_in_training(prepare, corpus, capsys, voices):
    """flite speaks in a test set alone, wherever it is installed."""
    with pytest.raises(SystemExit):
        prepare.main(options(corpus, voices=voices))
    assert f"argument --voices: invalid choice: '{voices.split()[1]}'" in capsys.readouterr().err
    assert not (corpus / "data").exists()


@pytest.mark.parametrize("allowed", ["true", "false"])
def test_commands_in_a_wav_scp(prepare, corpus, allowed):
    scp, audio = corpus / "kaldi/train/wav.scp", corpus / "kaldi/train/flac"
    scp.write_text(
        f"train0 {audio}/train0.flac\n"
        f"train1 touch {corpus}/RAN; cat {audio}/train1.flac {' ' * 300}|\n"
    )
    prepare.main(options(corpus, sentences=None, train="kaldi/train", allow_pipes=allowed))
    perturbed = read_table(corpus / "data/train_real_sp/wav.scp")
    assert ("sp0.9-train1" in perturbed) == (corpus / "RAN").exists() == (allowed == "true")
    assert "sp0.9-train0" in perturbed


def test_a_recording_without_transcript(prepare, corpus):
    (corpus / "kaldi/train/text").write_text("train0 a\n")
    with pytest.raises(ValueError, match="lacks train1 of wav.scp"):
        prepare.read_source(corpus / "kaldi/train")


def test_one_command(corpus):
    """Names count from where one stands; test sets are called test_NAME; voices are passed on."""
    command = [str(RECIPE / "run.sh"), "--python", sys.executable, "--stop_stage", "1"]
    for place in ("datadir", "dumpdir", "expdir"):
        command += [f"--{place}", f"{corpus}/{place}"]
    command += ["--train", "kaldi/train rows.jsonl", "--dev", "kaldi/test", "--test=a=kaldi/test "
                "b=rows.jsonl", "--sentences=text.txt", "--voices", "espeak", "--local_data_opts",
                "--speeds 1.0 --min_count 2 --num_sentences 2"]  # fmt: skip
    done = subprocess.run(
        command, cwd=corpus, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((corpus / "datadir/test_b/psslm.jsonl").read_text())["utt"] == "r1"
    speakers = set(read_table(corpus / "datadir/train/utt2spk").values()) - {"S", "r1"}
    assert 1 <= len(speakers) <= 2
    assert speakers <= {v.name for v in read_voices(engines=["espeak"]) if v.split == "train"}
    assert "dump/raw" not in done.stdout and "{train dev test_a test_b" in done.stderr
