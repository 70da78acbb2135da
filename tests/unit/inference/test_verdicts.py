"""What a packed model says of what is outside, in Python and on the command line: tiny models."""

import json
import logging

import numpy as np
import pytest
import soundfile

from espnet_psslm.bin.transcribe import UNLIKE
from espnet_psslm.inference.outside import Familiarity, transcript_confidence, word_pairs
from tests.unit.inference import test_speech2text as plain_packs
from tests.unit.inference.test_speech2text import OPTIONS, read

speech2text, waves, transcribe = plain_packs.speech2text, plain_packs.waves, plain_packs.transcribe
plain_world = plain_packs.world


@pytest.fixture(scope="module")
def pairs(plain_world, tmp_path_factory):
    """Every other pair of words of what the tiny model writes: some are known, not all."""
    from espnet_psslm.inference.speech2text import Speech2Text

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        model = Speech2Text.from_pretrained(plain_world / "model.zip", **OPTIONS)
        found = model([soundfile.read(plain_world / f"{number}.wav")[0] for number in range(4)])
        return frozenset(pair for [best, *_] in found for pair in word_pairs(best[0])[::2])


@pytest.fixture(scope="module")
def world(plain_world, pairs):
    """With ``strict.zip``, to which all is outside, and ``mild.zip``, to which nothing is."""
    from espnet_psslm.bin import pack

    folder = plain_world
    options = ["--psslm_train_config", folder / "exp/config.yaml"]
    options += ["--psslm_model_file", folder / "exp/valid.loss.ave.pth"]
    for name, threshold in (("strict", 1.0), ("mild", 0.0)):
        Familiarity(threshold=threshold, share=0.01, num_utts=60, pairs=pairs).write(
            folder / f"{name}.yaml"
        )
        outside = ["--outside", folder / f"{name}.yaml", "--outpath", folder / f"{name}.zip"]
        pack.main([str(word) for word in [*options, *outside]])
    return folder


def verdicts(results):
    """Of each waveform, the same for all its answers."""
    found = [{(h.outside, h.confidence) for *_, h in result} for result in results]
    assert all(len(each) == 1 for each in found)
    return [each.pop() for each in found]


def test_a_pack_says_what_is_outside(speech2text, world, waves, pairs, monkeypatch, tmp_path):
    """Of every task by the transcript, of which the same audio is not encoded again."""
    from espnet_psslm.inference.speech2text import Speech2Text

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert verdicts(speech2text(waves)) == [(False, None)] * 4  # no threshold, nothing said
    confidences = [transcript_confidence(result[0][3], pairs) for result in speech2text(waves)]
    assert all(0 < value < 1 for value in confidences)
    for name, outside in (("strict", True), ("mild", False)):
        model = Speech2Text.from_pretrained(world / f"{name}.zip", **OPTIONS)
        acoustic, encoded = model.decoder.model.acoustic.module, []
        real = acoustic.encode
        acoustic.encode = lambda speech, n, r=real, e=encoded: (
            e.append(len(n)),
            r(speech, n),
        )[1]
        for task in ("ASR", "SLU_scenario"):
            results = model(waves, task)
            assert [read(r) for r in results] == [read(r) for r in speech2text(waves, task)]
            found, values = zip(*verdicts(results), strict=True)
            assert found == (outside,) * 4 and values == pytest.approx(confidences, rel=1e-3)
            assert sum(encoded) == 4 and not model.decoder.reader.remembered
            encoded.clear()
        assert verdicts([model(waves[1], "hotword", hotword="light")])[0][0] == outside


def test_where_nothing_is_said_of_outside(world, tmp_path, monkeypatch):
    from espnet_psslm.inference.speech2text import Speech2Text

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    ctc = {"asr_train_config": world / "ctc/config.yaml"}
    ctc |= {"asr_model_file": world / "ctc/valid.loss.ave.pth"}
    for name, options in (("model", {}), ("strict", {"outside": None}), ("strict", ctc)):
        model = Speech2Text.from_pretrained(world / f"{name}.zip", **OPTIONS, **options)
        assert model.familiarity is None
    given = {"outside": world / "mild.yaml"}
    model = Speech2Text.from_pretrained(world / "strict.zip", **OPTIONS, **ctc, **given)
    assert model.familiarity.threshold == 0.0
    monkeypatch.setattr(Speech2Text, "tasks", ["SLU_scenario"])
    model = Speech2Text.from_pretrained(world / "strict.zip", **OPTIONS)
    assert model.familiarity is None
    with pytest.raises(ValueError, match="none.yaml: no such file; bin/calibrate"):
        Speech2Text.from_pretrained(world / "model.zip", outside="none.yaml")


@pytest.fixture
def warned(caplog):
    """What the last command has warned of."""

    def take():
        found = [record.message for record in caplog.records if UNLIKE in record.message]
        caplog.clear()
        return found

    caplog.set_level(logging.WARNING)
    return take


@pytest.mark.parametrize("task", ["ASR", "SLU_scenario"])
def test_no_answer_to_what_is_outside(transcribe, speech2text, waves, pairs, capsys, warned, task):
    texts = [" ".join(result[0][0].split()) for result in speech2text(waves[:2], task)]
    confidence = transcript_confidence(speech2text(waves[0])[0][3], pairs)
    strict = ("--model", "strict.zip", "--task", task)
    transcribe("0.wav", *strict)
    assert capsys.readouterr().out == "\n"
    [said] = warned()
    assert said.startswith(f"0.wav: sounds {UNLIKE} (confidence ")
    assert f"(confidence {confidence:.3f} of 1, below 1.000): no answer" in said
    assert said.endswith(". --answer_anyway true shows what it would say")
    transcribe("0.wav", "1.wav", *strict)
    assert capsys.readouterr().out == "0.wav\t\n1.wav\t\n"
    assert [line.partition(":")[0] for line in warned()] == ["0.wav", "1.wav"]
    transcribe("0.wav", "1.wav", *strict, "--answer_anyway", "true")
    assert capsys.readouterr().out == f"0.wav\t{texts[0]}\n1.wav\t{texts[1]}\n"
    assert [line.endswith("): the answer is a guess") for line in warned()] == [True, True]
    transcribe("0.wav", "--model", "mild.zip", "--task", task)
    assert capsys.readouterr().out == f"{texts[0]}\n"
    assert warned() == []


def test_json_says_what_is_outside(transcribe, speech2text, waves, pairs, capsys, warned):
    [text, _, _, best], _ = speech2text(waves[0])

    def row(model, *words):
        transcribe("0.wav", "--model", model, "--format", "json", *words)
        return json.loads(capsys.readouterr().out)

    plain = row("model.zip")
    assert plain.keys() == {"file", "task", "text", "score", "duration_s"} and warned() == []
    assert plain["text"] == text
    verdict = {"confidence": pytest.approx(transcript_confidence(best, pairs), abs=1e-3)}
    assert row("mild.zip") == plain | verdict | {"outside": False}
    assert warned() == []
    assert row("strict.zip") == plain | verdict | {"outside": True, "text": ""}
    assert row("strict.zip", "--answer_anyway", "true") == plain | verdict | {"outside": True}
    assert len(warned()) == 2


def test_subtitles_of_what_is_outside(transcribe, waves, capsys, warned, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.concatenate(waves * 3), 16000)

    def subtitles(model, *words):
        source = str(tmp_path / "a.wav")
        transcribe(source, "--format", "srt", "--segment_s", "1", "--model", model, *words)
        return capsys.readouterr().out

    plain = subtitles("mild.zip")
    assert plain and warned() == []
    count = plain.count(" --> ")
    assert count > 1
    assert subtitles("strict.zip") == ""
    [said] = warned()
    assert f"a.wav: {count} of {count} subtitles are left out, since" in said
    assert "below 1.000 of 1); --answer_anyway true keeps them" in said
    assert subtitles("strict.zip", "--answer_anyway", "true") == plain
    assert f"a.wav: {count} of {count} subtitles are guesses" in warned()[0]
