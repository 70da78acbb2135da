import random

import numpy as np
import pytest
import soundfile
from noise import FS, NOISES, add_noise, make_noise
from synthesize import plan_utterances, read_voices, speak_all

TEXTS = [f"turn on the light number {index}" for index in range(25)]


def test_voices() -> None:
    voices = read_voices()
    by_split = {s: [v for v in voices if v.split == s] for s in ("train", "dev", "test")}
    assert len(by_split["train"]) >= 24 and len(by_split["test"]) >= 6

    def variants(split: str) -> set[str]:
        return {v.espeak.partition("+")[2] for v in by_split[split]} - {""}

    # Strangers to training not by name only: their voice variants do not occur there.
    assert not variants("test") & (variants("train") | variants("dev"))
    assert not variants("dev") & variants("train")
    assert all("+" in v.espeak for split in ("dev", "test") for v in by_split[split])
    train = {(v.espeak, v.pitch, v.rate) for v in by_split["train"]}
    assert len(train) == len(by_split["train"])


@pytest.mark.parametrize(
    "line", ["a en-us 50 160", "a en-us 50 160 tset", "a en-us 50 1 train\na en 50 1 test"]
)
def test_bad_table_of_voices(line: str, tmp_path) -> None:
    (tmp_path / "voices.txt").write_text(line)
    with pytest.raises(ValueError, match=r"voices.txt:\d: .*write 'name espeak-voice"):
        read_voices(tmp_path / "voices.txt")


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("num_samples", [997, 16000])
def test_noise(kind: str, num_samples: int) -> None:
    noise = make_noise(kind, num_samples, np.random.default_rng(0))
    assert noise.shape == (num_samples,)
    assert np.mean(noise**2) == pytest.approx(1.0)
    assert np.array_equal(noise, make_noise(kind, num_samples, np.random.default_rng(0)))


def test_unknown_noise() -> None:
    with pytest.raises(ValueError, match="'rain' is unknown: use one of white"):
        make_noise("rain", 10, np.random.default_rng(0))


def test_snr() -> None:
    speech = np.sin(np.arange(FS) / 10)
    noisy = add_noise(speech, kind="pink", snr_db=7.0, rng=np.random.default_rng(0))
    ratio = np.mean(speech**2) / np.mean((noisy - speech) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(7.0)


def test_plan() -> None:
    voices = [v for v in read_voices() if v.split == "test"]
    plan = plan_utterances(TEXTS, split="test", voices=voices, folder="f", seed=1)
    assert [u.text for u in plan] == TEXTS
    assert len({u.utt for u in plan}) == len(TEXTS)
    assert all(u.utt.startswith(u.voice.name) and 5 <= u.snr_db <= 30 for u in plan)
    counts = [sum(u.voice == v for u in plan) for v in voices]
    assert max(counts) - min(counts) <= 1
    assert plan == plan_utterances(TEXTS, split="test", voices=voices, folder="f", seed=1)
    assert plan != plan_utterances(TEXTS, split="test", voices=voices, folder="f", seed=2)


def test_bytes_do_not_depend_on_the_number_of_processes(tmp_path) -> None:
    voices = random.Random(0).sample(read_voices(), 8)
    audio = []
    for nj in (1, 2):
        folder = tmp_path / str(nj)
        plan = plan_utterances(TEXTS, split="x", voices=voices, folder=str(folder), seed=1)
        seconds = speak_all(plan, seed=1, nj=nj, label="x")
        audio.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert audio[0] == audio[1] and len(audio[0]) == len(TEXTS)
    infos = [soundfile.info(path) for path in (tmp_path / "1").iterdir()]
    assert {(i.samplerate, i.channels, i.subtype) for i in infos} == {(FS, 1, "PCM_16")}
    assert sum(i.duration for i in infos) == pytest.approx(seconds)
    assert all(1.0 < i.duration < 6.0 for i in infos)


def test_voice_that_does_not_exist(tmp_path) -> None:
    (tmp_path / "voices.txt").write_text("a en-zz 50 160 train\n")
    voices = read_voices(tmp_path / "voices.txt")
    plan = plan_utterances(["a b"], split="x", voices=voices, folder=str(tmp_path), seed=1)
    with pytest.raises(ValueError, match="no voice 'en-zz': correct voices.txt"):
        speak_all(plan, seed=1, nj=1, label="x")
