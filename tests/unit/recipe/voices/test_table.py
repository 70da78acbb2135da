import argparse
from collections import Counter

import pytest

from espnet_psslm.recipe.voices.engines import Voice
from espnet_psslm.recipe.voices.programs import Festival, Flite
from espnet_psslm.recipe.voices.table import (
    SPEAKERS,
    SPLITS,
    add_voice_options,
    find_program_voices,
    find_voices,
    read_voices,
)

NEURAL = ("hibari", "kokoro")


def by_split(*engines: str) -> dict[str, list[Voice]]:
    voices = read_voices(engines=engines)
    return {split: [v for v in voices if v.split == split] for split in SPLITS}


def test_espeak_variants_are_in_one_split_only() -> None:
    voices = by_split("espeak")
    assert len(voices["train"]) >= 24 and len(voices["test"]) >= 6

    def variants(split: str) -> set[str]:
        return {v.source.partition("+")[2] for v in voices[split]} - {""}

    # Strangers to training not by name only: their voice variants do not occur there.
    assert not variants("test") & (variants("train") | variants("dev"))
    assert not variants("dev") & variants("train")
    assert all("+" in v.source for split in ("dev", "test") for v in voices[split])
    known = {(v.source, v.pitch, v.pace) for v in voices["train"]}
    assert len(known) == len(voices["train"])


@pytest.mark.parametrize("what", ["factor", "pace", "source"])
def test_pseudo_speakers_of_two_splits_have_nothing_in_common(what: str) -> None:
    voices = by_split(*NEURAL)
    seen: Counter = Counter()
    for split in ("train", "dev_natural", "test_natural"):
        # hibari has one speaker; factor and pitch make others of it.
        found = [v for v in voices[split] if what != "source" or v.engine == "kokoro"]
        values = {getattr(v, what) for v in found}
        seen.update(values)
        assert values
    assert max(seen.values()) == 1, seen.most_common(1)


@pytest.mark.parametrize("what", ["factor", "pace"])
def test_test_voices_lie_between_and_beyond_those_of_training(what: str) -> None:
    voices = by_split("hibari")
    train, test = (
        sorted(getattr(v, what) for v in voices[split]) for split in ("train", "test_natural")
    )
    assert test[0] < train[0] and test[-1] > train[-1]
    assert sum(train[0] < value < train[-1] for value in test) >= 5


def test_flite_and_festival_speak_in_one_test_set_alone() -> None:
    voices = read_voices(engines=("flite", "festival"))
    assert voices and {v.split for v in voices} == {"test_engines"}
    assert {v.engine for v in read_voices() if v.split == "test_engines"} == {"flite", "festival"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a espeak en-us 1 1 50 1", "7 columns"),
        ("a espeak en-us 1 1 50 1 tset", "no split 'tset'"),
        ("a espeak en-us 1 1 - 1 train", "espeak needs a pitch"),
        ("a kokoro jf_alpha 1 1 50 1 train", "kokoro has no pitch, write -"),
        (
            "a espeak en-us 0 1 50 1 train",
            "factor and pace must exceed 0, share",
        ),
        (
            "a espeak en-us 1 1 50 0 train",
            "factor and pace must exceed 0, share",
        ),
        ("a espeak en-us fast 1 50 1 train", "could not convert string to float"),
        ("a espeak en 1 1 50 1 train\na espeak en-us 1 1 50 1 test", "this name comes twice"),
        ("a festval en-us 1 1 - 1 train", "there is no voice engine 'festval'"),
    ],
)
def test_bad_table(line: str, reason: str, tmp_path) -> None:
    (tmp_path / "voices.txt").write_text(line)
    with pytest.raises(ValueError, match=rf"voices.txt:\d: .* no voice: {reason}.*; write 'name"):
        read_voices(tmp_path / "voices.txt")


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_voice_options(parser)
    return parser.parse_args(arguments)


def test_who_is_asked_to_speak(capsys) -> None:
    assert {v.engine for v in find_voices(options(), "train")} == set(SPEAKERS)
    espeak = find_voices(options("--voices", "espeak"), "dev", "test")
    assert {(v.engine, v.split) for v in espeak} == {("espeak", "dev"), ("espeak", "test")}
    with pytest.raises(ValueError, match=r"--voices espeak: .*voices.txt has no voice .*dev_nat"):
        find_voices(options("--voices", "espeak"), "dev_natural")
    # flite and festival may not speak in training.
    with pytest.raises(SystemExit):
        options("--voices", "flite")
    assert "--voices: invalid choice: 'flite'" in capsys.readouterr().err


def test_programs_speak_with_the_voices_that_are_installed(monkeypatch, caplog) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(Flite, "find_version", lambda: "kal16 slt more")
    monkeypatch.setattr(Festival, "find_version", lambda: None)
    assert [v.source for v in find_program_voices()] == ["kal16", "slt"]
    assert "left out of test_engines: fl02 fl03 fe01 fe02 fe03" in caplog.text
    monkeypatch.setattr(Flite, "find_version", lambda: None)
    assert find_program_voices() == []
