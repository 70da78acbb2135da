import os
import random
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_psslm.common.audio import SAMPLE_RATE
from espnet_psslm.recipe.voices import espeak, speak
from espnet_psslm.recipe.voices.engines import Voice, engine_class
from espnet_psslm.recipe.voices.speak import plan_utterances, speak_all
from espnet_psslm.recipe.voices.table import read_voices

TEXTS = [f"turn on the light number {index}" for index in ("one", "two", "three", "four", "five")]


def plan(folder: Path | str, *, voices=None, texts=TEXTS, **options):
    voices = voices or read_voices(engines=["espeak"])[:3]
    options = {"split": "x", "seed": 1} | options
    return plan_utterances(texts, voices=voices, folder=str(folder), **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_voices_come_round_as_often_as_their_shares_say() -> None:
    loud, rare = (replace(v, share=s) for v, s in zip(read_voices()[:2], (3, 1), strict=True))
    planned = plan("f", voices=[loud, rare], texts=TEXTS * 4, rooms=True)
    assert [u.text for u in planned] == TEXTS * 4
    assert len({u.utt for u in planned}) == len(planned)
    assert sum(u.voice == loud for u in planned) == 15
    assert all(u.utt.startswith(u.voice.name) for u in planned)
    assert planned == plan("f", voices=[loud, rare], texts=TEXTS * 4, rooms=True)
    assert planned != plan("f", voices=[loud, rare], texts=TEXTS * 4, rooms=True, seed=2)
    assert any(u.recording.room for u in planned)
    assert not any(u.recording.room for u in plan("f", texts=TEXTS * 4))


def test_the_name_of_a_file_says_all_that_it_depends_on(monkeypatch) -> None:
    [first, *_] = plan("f")
    others = [
        replace(first, text="other"),
        replace(first, voice=replace(first.voice, factor=0.9)),
        replace(first, pace=1.01),
        replace(first, seed=2),
        replace(first, recording=replace(first.recording, level_db=-1.0)),
    ]
    assert len({u.path for u in [first, *others]}) == 6
    assert replace(first, folder="g").path == first.path.replace("f/", "g/", 1)
    known = first.path
    monkeypatch.setattr(speak, "VERSION", speak.VERSION + 1)
    assert first.path != known


def test_bytes_depend_neither_on_processes_nor_on_what_was_there(tmp_path) -> None:
    voices = random.Random(0).sample(read_voices(engines=["espeak", "hibari"]), 5)
    for nj in (1, 2):
        planned = plan(tmp_path / str(nj), voices=voices, rooms=True)
        if nj == 2:
            speak_all(planned[3:], nj=1)
        seconds = speak_all(planned, nj=nj)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert len(contents(tmp_path / "1")) == len(TEXTS)
    infos = [soundfile.info(path) for path in (tmp_path / "1").iterdir()]
    assert {(i.samplerate, i.channels, i.subtype) for i in infos} == {(SAMPLE_RATE, 1, "PCM_16")}
    assert sum(i.duration for i in infos) == pytest.approx(seconds)
    assert all(1.0 < i.duration < 6.0 for i in infos)


def test_what_is_there_is_kept_and_what_is_of_other_settings_goes(tmp_path, caplog) -> None:
    speak_all(plan(tmp_path), nj=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / ".half-written.tmp").write_bytes(b"RIFF")
    (tmp_path / "mine.flac").write_bytes(b"a recording of somebody")
    caplog.set_level("INFO")
    speak_all(plan(tmp_path), nj=1)
    assert (tmp_path / "mine.flac").exists()
    (tmp_path / "mine.flac").unlink()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert "5 of 5 utterances are spoken already" in caplog.text
    speak_all(plan(tmp_path, seed=2), nj=1)
    assert "5 files of other settings or versions removed" in caplog.text
    assert not before.keys() & set(tmp_path.iterdir()) and len(contents(tmp_path)) == 5


def test_factor_moves_pitch_and_formants_and_not_the_pace() -> None:
    [utterance] = plan("f", texts=TEXTS[:1])
    engine = engine_class("espeak")()
    high, low = (
        speak.speak(
            replace(utterance, voice=replace(utterance.voice, factor=factor)), engine=engine
        )
        for factor in (1.15, 0.85)
    )
    assert len(high) / len(low) == pytest.approx(1.0, abs=0.08)

    def centre(samples: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(samples)) ** 2
        return float(np.average(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE), weights=power))

    assert centre(high) > 1.1 * centre(low)


def test_a_sentence_that_cannot_be_said_is_named(tmp_path) -> None:
    voices = read_voices(engines=["hibari"])[:1]
    planned = plan(tmp_path, voices=voices, texts=["turn on the light", "wake me at 7"])
    with pytest.raises(ValueError, match="voice hb01 .hibari.*'wake me at 7' holds 7"):
        speak_all(planned, nj=1)
    planned = plan(tmp_path, texts=[" "])
    with pytest.raises(ValueError, match=r"voice .* .espeak. said nothing for ' ' \(.*-x00000\)"):
        speak_all(planned, nj=1)


def test_voice_that_does_not_exist(tmp_path) -> None:
    voices = [Voice("a", "espeak", "en-zz", 1.0, 1.0, 50, 1, "train")]
    with pytest.raises(ValueError, match="no voice 'en-zz': correct voices.txt"):
        speak_all(plan(tmp_path, voices=voices), nj=1)


def _die(*_args: object, **_options: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_noticed_and_what_is_finished_is_kept(tmp_path, monkeypatch) -> None:
    planned = plan(tmp_path, texts=TEXTS * 2)
    speak_all(planned[:4], nj=1)
    done = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(espeak.Espeak, "say", _die)
        with pytest.raises(ValueError, match=r"that spoke .*-x0000\d.* with espeak was killed"):
            speak_all(planned, nj=1)
    assert contents(tmp_path) == done
    speak_all(planned, nj=1)
    assert len(contents(tmp_path)) == 10


def test_espeak_that_dies_alone_is_one_line(monkeypatch) -> None:
    monkeypatch.setattr(espeak.Espeak, "_say", _die)
    with pytest.raises(ValueError, match="espeak-ng died while it spoke 'turn on the light number"):
        speak.speak(plan("f")[0], engine=espeak.Espeak())
