import shutil
from dataclasses import replace

import numpy as np
import pytest

from espnet_psslm.recipe.voices import engines
from espnet_psslm.recipe.voices.engines import (
    Voice,
    engine_class,
    installed_version,
    package_version,
)
from espnet_psslm.recipe.voices.neural import is_spelled, move_melody, trim
from espnet_psslm.recipe.voices.table import PROGRAMS, SPEAKERS, read_voices

TEXT = "turn on the light in the kitchen"
ENGINES = (*SPEAKERS, *PROGRAMS)


def first_voice(engine: str) -> Voice:
    return read_voices(engines=[engine])[0]


@pytest.fixture(scope="module", params=ENGINES)
def engine_and_voice(request):
    """An engine that is there, and a voice of its own."""
    if request.param in PROGRAMS and engine_class(request.param).find_version() is None:
        # A program of the system, which no environment of Python brings.
        pytest.xfail(f"{request.param} is not installed")
    return engine_class(request.param)(), first_voice(request.param)


def say(engine, voice: Voice, text: str = TEXT, pace: float = 1.0) -> np.ndarray:
    return engine.say(text, voice=voice, pace=pace, pitch=voice.pitch)


def test_the_same_text_gives_the_same_samples(engine_and_voice) -> None:
    engine, voice = engine_and_voice
    first = say(engine, voice)
    say(engine, voice, "something else in between")
    assert first.dtype == np.float32 and first.ndim == 1
    assert 1.0 < len(first) / engine.fs < 5.0 and 0.05 < np.abs(first).max() <= 1.0
    assert np.array_equal(first, say(engine, voice))


def test_a_faster_pace_is_shorter(engine_and_voice) -> None:
    engine, voice = engine_and_voice
    slow, fast = say(engine, voice, pace=0.8), say(engine, voice, pace=1.25)
    assert 1.2 < len(slow) / len(fast) < 2.0


def pitches_hz(samples: np.ndarray, fs: int) -> list[float]:
    """Fundamentals of the voiced stretches of 60 ms, by autocorrelation."""
    width, low, high = fs * 60 // 1000, fs // 350, fs // 70
    found = []
    for start in range(0, len(samples) - width, width // 2):
        window = samples[start : start + width]
        correlation = np.correlate(window, window, "full")[width - 1 :]
        lag = low + int(correlation[low:high].argmax())
        if correlation[lag] > 0.5 * correlation[0] > 0.05:
            found.append(fs / lag)
    return found


def test_hibari_moves_its_pitch() -> None:
    """On one note, where a fundamental can be measured."""
    engine, voice = engine_class("hibari")(), replace(first_voice("hibari"), source="heart-flat")
    own, low = (
        np.median(pitches_hz(engine.say(TEXT, voice=voice, pace=1.0, pitch=pitch), engine.fs))
        for pitch in (1.0, 0.7)
    )
    assert low / own == pytest.approx(0.7, rel=0.03)


def test_melodies() -> None:
    melody = np.array([0.0, 100.0, 200.0, 400.0, 0.0], np.float32)
    assert move_melody(melody, 1.0, 1.0).tolist() == melody.tolist()
    assert move_melody(melody, 0.5, 1.0).tolist() == [0, 50, 100, 200, 0]
    assert move_melody(melody, 1.5, 0.0).tolist() == [0, 300, 300, 300, 0]
    assert move_melody(melody, 1.0, 2.0).tolist() == [0, 50, 200, 800, 0]
    assert move_melody(np.zeros(3, np.float32), 0.5, 0.0).tolist() == [0, 0, 0]


def test_hibari_has_manners() -> None:
    engine, voice = engine_class("hibari")(), first_voice("hibari")
    sources = ("heart", "heart-british", "heart-flat", "heart-lively", "heart-british-flat")
    said = [say(engine, replace(voice, source=source), "my father has a car") for source in sources]
    assert len({samples.tobytes() for samples in said}) == len(sources)
    spread = {
        source: np.subtract(*np.quantile(pitches_hz(samples, engine.fs), [0.75, 0.25]))
        for source, samples in zip(sources, said, strict=True)
    }
    assert spread["heart-flat"] < 0.3 * spread["heart"] < 0.3 * spread["heart-lively"]


def test_kokoro_mixes_its_speakers() -> None:
    kokoro = engine_class("kokoro")()
    alpha, kumo = kokoro.style("jf_alpha", 30), kokoro.style("jm_kumo", 30)
    mixed = kokoro.style("jf_alpha:1.4+jm_kumo:-0.4", 30)
    assert mixed.shape == (1, 256)
    assert np.allclose(mixed, 1.4 * alpha - 0.4 * kumo, atol=1e-6)
    assert np.array_equal(kokoro.style("jm_kumo", 10_000), kokoro.style("jm_kumo", 510))
    with pytest.raises(ValueError, match="kokoro has no speaker 'jf_nobody'; there are jf_alpha"):
        kokoro.style("jf_nobody", 30)


@pytest.mark.parametrize("engine", ["hibari", "kokoro"])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no word"),
        ("?!", "holds no word"),
        ("play 你好 now", "holds 你 好"),
        ("wake me at 7", "holds 7"),
        ("nice 😀", "holds 😀"),
        ("a " * 500, "phonemes, at most 400 are said at once: cut it in two"),
    ],
)
def test_what_a_neural_voice_would_leave_out_is_refused(engine, text, reason) -> None:
    voice = first_voice(engine)
    with pytest.raises(ValueError, match=rf"voice {voice.name} \({engine}\).*{reason}"):
        say(engine_class(engine)(), voice, text)


def test_spelled() -> None:
    assert is_spelled("it's half past ten, isn't it?")
    assert not is_spelled("it's 10") and not is_spelled("") and not is_spelled("café")


def test_a_voice_that_does_not_exist() -> None:
    for engine, reason in (
        ("espeak", "no voice 'xx': correct"),
        ("hibari", "brings heart alone, .*'xx' is no such voice"),
    ):
        voice = Voice("v", engine, "xx", 1.0, 1.0, 50, 1, "train")
        with pytest.raises(ValueError, match=reason):
            say(engine_class(engine)(), voice)


def test_a_program_that_fails(tmp_path, monkeypatch) -> None:
    flite = tmp_path / "flite"
    flite.write_text("#!/bin/sh\nexit 3\n")
    flite.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    voice = Voice("v", "flite", "kal", 1.0, 1.0, None, 1, "test_engines")
    with pytest.raises(ValueError, match=r"voice v \(flite\) cannot say 'turn on .*status 3"):
        say(engine_class("flite")(), voice)


def test_a_program_that_does_not_tell_its_voices(tmp_path, monkeypatch, caplog) -> None:
    flite = tmp_path / "flite"
    flite.write_text("#!/bin/sh\nexit 3\n")
    flite.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert engine_class("flite").find_version() is None
    assert "flite does not tell its voices" in caplog.text


def test_an_engine_that_is_not_installed(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    installed_version.cache_clear()
    with pytest.raises(ValueError, match="flite is not installed: install flite"):
        installed_version("flite")
    assert package_version("numpy", "no-such-package") is None
    monkeypatch.setattr(engines, "version", _not_found)
    with pytest.raises(ValueError, match="hibari is not installed: run '.*pip .*--voices espeak"):
        installed_version("hibari")
    with pytest.raises(ValueError, match="no voice engine 'festval'; choose from espeak, hibari"):
        engine_class("festval")
    installed_version.cache_clear()


def _not_found(name: str) -> str:
    raise engines.PackageNotFoundError(name)


def test_trim_keeps_a_margin() -> None:
    samples = np.zeros(24000, np.float32)
    samples[10000:14000] = 0.5
    assert len(trim(samples, 24000)) == 4000 + 2 * 720 - 1
    assert len(trim(np.zeros(100, np.float32), 24000)) == 0
