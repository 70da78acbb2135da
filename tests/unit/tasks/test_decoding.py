"""What may be asked of decoding beside the best answer, through the command; tiny random model."""

import argparse
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from tests.fake_acoustic import FRAME, LevelAcoustic
from tests.helpers import SENTENCES, text_rows, write_jsonl
from tests.unit.tasks import test_psslm as bridge
from tests.unit.tasks.test_psslm import RATE, answers, infer

options, trained, audio = bridge.options, bridge.trained, bridge.audio
SCENARIOS = ("alarm", "music", "weather", "shopping lists", "light on")
BLANKS = 12  # frames between two sentences


def column(output, name, task="ASR"):
    lines = (output / task / name).read_text().splitlines()
    return dict(line.partition(" ")[::2] for line in lines)


def stats(output, task="ASR"):
    return json.loads((output / task / "stats.json").read_text())


@pytest.fixture
def decode(trained):
    """The answers of the trained model's decoder to noise-free simulations of text."""
    from espnet_psslm.inference.decoder import PSSLMDecoder

    exp = trained[0] / "exp"

    def decode(rows, **options):
        search = {"max_new_tokens": 20, "device": "cpu", "oracle": True} | options
        return PSSLMDecoder(exp / "config.yaml", exp / "2epoch.pth", **search).decode_usable(rows)

    return decode


def test_nbest_files(trained, tmp_path):
    manifest = ("--manifest", str(trained[0] / "data.jsonl"), "--oracle", "true")
    infer(trained[0], tmp_path / "one", *manifest, "--tasks", "ASR")
    infer(trained[0], tmp_path / "three", *manifest, "--tasks", "ASR", "--nbest", "3")
    ranks = [column(tmp_path / "three", f"{n}best_recog/text") for n in (1, 2, 3)]
    assert ranks[0] == answers(tmp_path / "one")
    for name in ("text", "score"):
        best = column(tmp_path / "three", f"1best_recog/{name}")
        assert list(best) == [row["key"] for row in text_rows()]
        assert best == column(tmp_path / "one", f"1best_recog/{name}")
    assert ranks[0].keys() == ranks[1].keys() == ranks[2].keys()
    assert ranks[0] != ranks[1] != ranks[2]
    assert not (tmp_path / "three/ASR/4best_recog").exists()
    assert {path.name for path in (tmp_path / "one/ASR/1best_recog").iterdir()} == {"text", "score"}
    assert stats(tmp_path / "one").keys() == {"wall_s", "audio_s", "num_samples", "num_cut"}


def test_nbest_does_not_depend_on_the_batch(decode):
    rows = text_rows()
    search = {"nbest": 3, "confidence": "posterior", "choices": {"SLU_scenario": SCENARIOS}}
    rows = [*rows[:4], *text_rows("SLU_scenario")[4:]]
    together = decode(rows, batch_size=8, **search)
    alone = decode(rows, batch_size=1, **search)
    for row in rows:
        ours, theirs = together.nbest[row["key"]], alone.nbest[row["key"]]
        assert [h.token_ids for h in ours] == [h.token_ids for h in theirs]
        assert [h.log_prob for h in ours] == pytest.approx([h.log_prob for h in theirs], abs=1e-3)
        assert [h.log_prob for h in ours] == sorted((h.log_prob for h in ours), reverse=True)
    assert together.confidence == pytest.approx(alone.confidence, abs=1e-3)


def test_how_clearly_every_row_was_heard(decode):
    """Noise-free simulation: the best unit has all of the probability."""
    rows = [*text_rows(), *text_rows("SLU_scenario")]
    for best, second in decode(rows, nbest=2).nbest.values():
        assert best.heard == second.heard and best.heard.probability == 1.0
        assert best.heard.num_steps > 3
        assert (best.confidence, best.outside) == (None, False)


def test_choice_tasks_keep_to_the_labels_of_a_manifest(trained, tmp_path):
    labels = [
        {"key": f"l{i}", "task": "SLU_scenario", "target": label, "GT": "x"}
        for i, label in enumerate((*SCENARIOS, *SCENARIOS))
    ]
    options = [
        *("--manifest", str(trained[0] / "data.jsonl"), "--oracle", "true", "--beam_size", "5"),
        *("--max_new_tokens", "20", "--choice_tasks", "SLU_scenario"),
        *("--label_manifest", str(write_jsonl(tmp_path / "train.jsonl", labels))),
        *("--nbest", "5", "--confidence", "posterior"),
    ]
    infer(trained[0], tmp_path / "out", *options)
    found = [column(tmp_path / "out", f"{n}best_recog/text", "SLU_scenario") for n in range(1, 6)]
    for key in found[0]:
        assert {rank[key] for rank in found} == set(SCENARIOS)  # each label once
    free = answers(tmp_path / "out")
    assert not set(free.values()) & set(SCENARIOS)
    confidence = column(tmp_path / "out", "1best_recog/confidence", "SLU_scenario")
    assert confidence.keys() == found[0].keys()
    assert all(1 / 5 <= float(value) <= 1 for value in confidence.values())


def test_posterior_over_labels(decode):
    rows = text_rows("SLU_scenario")[:2]
    search = {"beam_size": 5, "choices": {"SLU_scenario": SCENARIOS}}
    every = decode(rows, nbest=5, **search).nbest
    best = decode(rows, confidence="posterior", **search)
    tokens = decode(rows, confidence="token_mean", **search)
    for key, ranked in every.items():
        weights = [math.exp(h.log_prob) for h in ranked]
        assert best.confidence[key] == pytest.approx(weights[0] / sum(weights), rel=1e-3)
        assert tokens.confidence[key] == pytest.approx(math.exp(ranked[0].score), rel=1e-3)
        assert best.nbest[key] == ranked[:1]


def test_labels_of_the_prompt_file():
    from espnet_psslm.inference.options import read_labels

    prompts = [
        {"task": "sentiment", "prompt": "a", "labels": ["good", "bad"]},
        {"task": "sentiment", "prompt": "b"},
        {"task": "ASR", "prompt": "c"},
    ]
    args = argparse.Namespace(choice_tasks=["sentiment"], label_manifest=None)
    assert read_labels(args, prompts) == {"sentiment": ["good", "bad"]}


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (("--choice_tasks", "SLU_scenario"), "the prompt file has no labels.*--label_manifest"),
        (("--choice_tasks", "SLU"), r"\['SLU'\]: the prompt file knows"),
        (("--guard_tasks", "SLU"), r"\['SLU'\]: the prompt file knows"),
        (("--guard_tasks", "ASR", "--guard_distance", "2"), "guard_distance"),
        (("--nbest", "5"), r"nbest \(5\) must not exceed beam_size \(4\)"),
        (("--beam_size", "1", "--confidence", "posterior"), "beam_size must exceed 1"),
    ],
)
def test_one_clear_line(trained, tmp_path, capsys, more, match):
    import re

    manifest = str(trained[0] / "data.jsonl")
    with pytest.raises(SystemExit):
        infer(trained[0], tmp_path / "out", "--manifest", manifest, *more)
    assert re.search(match, capsys.readouterr().err.splitlines()[-1])


def test_labels_longer_than_the_answer_may_be(decode):
    with pytest.raises(ValueError, match=r"max_new_tokens \(3\): a label of SLU_scenario"):
        decode(text_rows("SLU_scenario"), max_new_tokens=3, choices={"SLU_scenario": SCENARIOS})


def test_guard_falls_back_to_what_ctc_heard(trained, audio, tmp_path):
    from espnet_psslm.bridge.guard import Guard
    from espnet_psslm.inference.decoder import PSSLMDecoder

    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(4000), RATE, subtype="FLOAT")
    rows = [*audio, {"key": "mute", "task": "ASR", "target": "x", "path": str(silence)}]
    rows += [row | {"key": row["key"] + "-2", "task": "SLU_scenario"} for row in audio]
    manifest = ("--manifest", str(write_jsonl(tmp_path / "audio.jsonl", rows)))
    guard = ("--guard_tasks", "ASR", "--guard_distance")
    infer(trained[0], tmp_path / "free", *manifest)
    infer(trained[0], tmp_path / "lax", *manifest, *guard, "1", "--guard_repeats", "99")
    infer(trained[0], tmp_path / "out", *manifest, *guard, "0", "--confidence", "token_mean")
    heard = answers(tmp_path / "out")
    assert heard.pop("mute") == ""
    assert list(heard.values()) == list(SENTENCES)
    reasons = column(tmp_path / "out", "1best_recog/fallback")
    assert list(reasons) == list(heard)
    assert all(reason.startswith("distance ") for reason in reasons.values())
    assert stats(tmp_path / "out")["num_fallbacks"] == len(SENTENCES)
    confidence = column(tmp_path / "out", "1best_recog/confidence")
    assert confidence["mute"] == "1.000000"
    assert all(0.9 < float(value) <= 1 for value in confidence.values())  # CTC was sure
    for name, counted in (("free", None), ("lax", 0)):
        assert stats(tmp_path / name).get("num_fallbacks") == counted
        assert not (tmp_path / name / "ASR/1best_recog/fallback").exists()
    assert answers(tmp_path / "free") == answers(tmp_path / "lax")
    exp = trained[0] / "exp"
    decoder = PSSLMDecoder(
        exp / "config.yaml",
        exp / "2epoch.pth",
        device="cpu",
        guard=Guard(["ASR"], max_distance=0.0),
    )
    for hypothesis in decoder.decode(audio):  # a fallback was heard as clearly as the answer
        assert hypothesis.fallback and hypothesis.heard.log_prob == hypothesis.log_prob < 0
    scenario = [answers(tmp_path / name, "SLU_scenario") for name in ("free", "out")]
    assert scenario[0] == scenario[1]
    assert "num_fallbacks" not in stats(tmp_path / "out", "SLU_scenario")


@pytest.fixture
def long(audio, tmp_path, monkeypatch):
    """All sentences in one recording, of which the acoustic model takes some at once."""
    waves = [soundfile.read(row["path"], dtype="float32")[0] for row in audio]
    longest_s = max(map(len, waves)) / RATE
    monkeypatch.setattr(LevelAcoustic, "max_duration_s", 4 * longest_s)
    pause = np.zeros(BLANKS * 320, np.float32)
    path = tmp_path / "long.wav"
    whole = np.concatenate([part for wave in waves for part in (wave, pause)])
    soundfile.write(path, whole, RATE, subtype="FLOAT")
    return {"key": "long", "task": "ASR", "target": "x", "path": str(path)}


def test_long_recording_is_cut_at_silences_and_its_answers_are_joined(
    trained, audio, long, tmp_path
):
    from espnet_psslm.inference.decoder import PSSLMDecoder
    from espnet_psslm.inference.long_audio import cut

    rows = [*audio[:2], long, *({**r, "key": f"{r['key']}-2", "task": "SLU_scenario"}
                                for r in (audio[0], long))]  # fmt: skip
    manifest = ("--manifest", str(write_jsonl(tmp_path / "m.jsonl", rows)))
    infer(trained[0], tmp_path / "ctc", *manifest, "--guard_tasks", "ASR", "--guard_distance", "0")
    assert answers(tmp_path / "ctc")["long"] == " ".join(SENTENCES)  # cut in pauses only
    assert (
        column(tmp_path / "ctc", "1best_recog/fallback").keys() == answers(tmp_path / "ctc").keys()
    )
    assert stats(tmp_path / "ctc")["num_cut"] == 1

    exp = trained[0] / "exp"
    decoder = PSSLMDecoder(
        exp / "config.yaml", exp / "valid.loss.ave.pth", device="cpu", max_new_tokens=8
    )
    [sample] = decoder.listener(decoder.reader.read([long], {}))
    longest = math.ceil(LevelAcoustic.max_duration_s / LevelAcoustic.frame_shift_s)
    spans = cut(sample.heard, fits=decoder.answerer.room(sample.question), longest=longest)
    assert 3 <= len(spans) <= len(SENTENCES)
    whole, _ = soundfile.read(long["path"], dtype="float32")
    parts = []
    for number, (first, stop) in enumerate(spans):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, whole[first * FRAME : stop * FRAME], RATE, subtype="FLOAT")
        parts.append({"key": f"piece{number}", "target": "x", "path": str(path)})
    infer(trained[0], tmp_path / "out", *manifest)
    for task, key in (("ASR", "long"), ("SLU_scenario", "long-2")):
        alone = decoder.decode([part | {"task": task} for part in parts])
        texts = [" ".join(hyp.text.split()) for hyp in alone]
        assert answers(tmp_path / "out", task)[key].split() == " ".join(texts).split()
        # The pauses between the pieces are heard in one of them.
        [joined] = decoder.decode([long | {"task": task}])
        assert joined.heard.num_steps == sum(hyp.heard.num_steps for hyp in alone)
        assert joined.heard.log_prob == pytest.approx(sum(hyp.heard.log_prob for hyp in alone))
    short = answers(tmp_path / "out")
    assert [short[row["key"]] for row in audio[:2]] == [
        " ".join(hyp.text.split()) for hyp in decoder.decode(audio[:2])
    ]


def test_labels_of_a_long_recording_are_refused(trained, long, tmp_path, capsys):
    row = long | {"task": "SLU_scenario", "target": "alarm"}
    manifest = str(write_jsonl(tmp_path / "m.jsonl", [row]))
    with pytest.raises(SystemExit):
        infer(
            trained[0], tmp_path / "out", "--manifest", manifest,
            "--choice_tasks", "SLU_scenario", "--label_manifest", manifest,
        )  # fmt: skip
    assert "answers of SLU_scenario are labels" in capsys.readouterr().err.splitlines()[-1]


def test_a_model_is_loaded_without_espnets_tasks():
    """They know every encoder and frontend there is, and take seconds to import."""
    code = (
        "import sys, espnet_psslm.acoustic.models, espnet_psslm.inference.decoder\n"
        "assert not [name for name in sys.modules if name.startswith('espnet2.tasks')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
