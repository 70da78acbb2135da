"""The bridge from manifest to answers, on a tiny random language model, in one process."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from tests.fake_acoustic import LevelAcoustic
from tests.helpers import SENTENCES, build_tokenizer, text_rows, write_jsonl
from tests.tiny_training import BRIDGE

RATE = 16000


@pytest.fixture(scope="module")
def options(lm_folder, units_folder, prompt_file, tmp_path_factory):
    """Command line of a tiny training that all tests share; ``data`` holds its manifest."""
    folder = tmp_path_factory.mktemp("bridge")
    manifest = write_jsonl(folder / "data.jsonl", text_rows("ASR") + text_rows("SLU_scenario"))
    config = BRIDGE | {
        "source": "text",
        "llm_conf": {"name": str(lm_folder), "dtype": "float32"},
        "projector_conf": {"hidden": 64},
        "projector_init": "unit_text",
        "batch_type": "sorted",
        "batch_size": 4,
        "optim_conf": {"lr": 1e-2},
        "scheduler": "warmuplr",
        "scheduler_conf": {"warmup_steps": 4},
        "keep_nbest_models": 2,
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    (folder / "acoustic.yaml").write_text("token_list: null\n")
    (folder / "acoustic.pth").write_bytes(b"")
    data = f"{manifest},sample,psslm_jsonl"
    return folder, [
        *("--config", str(folder / "train.yaml"), "--seed", "3"),
        *("--token_list", str(units_folder / "tokens.txt")),
        *("--bpemodel", str(units_folder / "bpe.model")),
        *("--prompt_file", str(prompt_file)),
        *("--acoustic_conf", f"train_config={folder / 'acoustic.yaml'}"),
        *("--acoustic_conf", f"model_file={folder / 'acoustic.pth'}"),
        *("--train_data_path_and_name_and_type", data),
        *("--valid_data_path_and_name_and_type", data),
    ]


def train(options, output, *more):
    from espnet_psslm.bin.psslm_train import main

    main([*options, "--output_dir", str(output), *more])


@pytest.fixture(scope="module")
def trained(options):
    """Folder of a training of two epochs, after stage 10."""
    folder, common = options
    train(common, folder / "stats", "--collect_stats", "true")
    shapes = [
        *("--train_shape_file", str(folder / "stats/train/length_shape")),
        *("--valid_shape_file", str(folder / "stats/valid/length_shape")),
    ]
    train([*common, *shapes], folder / "exp", "--max_epoch", "2")
    return folder, [*common, *shapes]


def weights(path):
    return torch.load(path, weights_only=True)


def infer(folder, output, *more, exp=None):
    from espnet_psslm.bin.psslm_inference import main

    exp = exp or folder / "exp"
    main(
        [
            *("--psslm_train_config", str(exp / "config.yaml")),
            *("--psslm_model_file", str(exp / "valid.loss.ave.pth")),
            *("--output_dir", str(output), "--batch_size", "3", "--max_new_tokens", "8"),
            *("--device", "cpu", *more),
        ]
    )


def answers(output, task="ASR"):
    lines = (output / task / "1best_recog/text").read_text().splitlines()
    return dict(line.partition(" ")[::2] for line in lines)


def test_statistics_count_the_sequence(trained, units_folder, prompt_file):
    from espnet_psslm.llm.backbone import load_tokenizer
    from espnet_psslm.text.prompt import PromptBook

    folder, _ = trained
    config = yaml.safe_load((folder / "exp/config.yaml").read_text())
    book = PromptBook(prompt_file, load_tokenizer(config["llm_conf"]["name"]))
    _, after = book.token_ids(0, {})
    target = book.encode_text(SENTENCES[0])
    shapes = dict(
        line.split() for line in (folder / "stats/valid/length_shape").read_text().splitlines()
    )
    assert len(shapes) == 2 * len(SENTENCES)
    least = len(book.prompts[0].prefix_ids) + len(after) + len(target) + 1
    assert least < int(shapes["utt0-ASR"].split(",")[0]) <= least + len(SENTENCES[0])


def test_rows_that_cannot_teach_are_left_out_and_named(options, tmp_path, caplog):
    """One transcript has no unit, one target is longer than the language model's window."""
    folder, common = options
    unheard, too_long, *others = text_rows("ASR")
    rows = [unheard | {"GT": "?!"}, too_long | {"target": "light " * 600}, *others]
    data = write_jsonl(tmp_path / "data.jsonl", rows)
    common = [option.replace(str(folder / "data.jsonl"), str(data)) for option in common]
    train(common, tmp_path / "stats", "--collect_stats", "true")
    shapes = tmp_path / "stats/train/length_shape"
    assert f"{unheard['key']} 0\n" in shapes.read_text()
    files = [
        f"--{name}_shape_file={tmp_path}/stats/{name}/length_shape" for name in ("train", "valid")
    ]
    train([*common, *files], tmp_path / "exp", "--max_epoch", "1")
    assert (tmp_path / "exp/unheard_train.txt").read_text() == f"{unheard['key']}\n"
    assert f"1 of {len(rows)} samples (train) are left out" in caplog.text
    assert "window of 512 positions" in caplog.text and too_long["key"] in caplog.text
    assert all(value.isfinite().all() for value in weights(tmp_path / "exp/1epoch.pth").values())


def test_checkpoints_hold_the_projector_only(trained):
    folder, _ = trained
    for name in ("1epoch.pth", "2epoch.pth", "valid.loss.ave.pth"):
        assert {key.split(".")[0] for key in weights(folder / "exp" / name)} == {"projector"}


def test_average_is_the_mean(trained):
    folder, _ = trained
    first, second, mean = (
        weights(folder / "exp" / name)
        for name in ("1epoch.pth", "2epoch.pth", "valid.loss.ave_2best.pth")
    )
    for key, value in mean.items():
        torch.testing.assert_close(value, (first[key] + second[key]) / 2)


def test_resume_is_exact(trained):
    folder, options = trained
    train(options, folder / "resumed", "--max_epoch", "1")
    train(options, folder / "resumed", "--max_epoch", "2", "--resume", "true")
    once, twice = (weights(folder / name / "2epoch.pth") for name in ("exp", "resumed"))
    assert once.keys() == twice.keys()
    for key in once:
        assert torch.equal(once[key], twice[key])


def test_text_training_never_reads_audio_nor_builds_an_encoder(trained, monkeypatch):
    folder, options = trained
    rows = text_rows("ASR") + text_rows("SLU_scenario")
    rows = [row | {"path": "/nowhere.wav"} for row in rows]
    manifest = write_jsonl(folder / "with_path.jsonl", rows)

    def fail(*_, **__):
        raise AssertionError("must not be called")

    monkeypatch.setattr("espnet_psslm.acoustic.model.load_ctc_acoustic", fail)
    monkeypatch.setattr("espnet_psslm.data.preprocessor.read_audio", fail)
    options = [value.replace(str(folder / "data.jsonl"), str(manifest)) for value in options]
    train(options, folder / "from_text", "--max_epoch", "1")


def test_same_loss_after_saving_and_loading(trained):
    from espnet_psslm.inference.decoder import PSSLMDecoder
    from espnet_psslm.trained import read_config
    from espnet_psslm.training.builders import build_collate, with_defaults

    exp = trained[0] / "exp"
    collate = build_collate(with_defaults(read_config(exp / "config.yaml")))
    losses = []
    for _ in range(2):
        decoder = PSSLMDecoder(exp / "config.yaml", exp / "2epoch.pth", device="cpu", source="text")
        samples = [
            (row["key"], decoder.preprocessor(row["key"], {"sample": row})) for row in text_rows()
        ]
        keys, batch = collate(samples)
        losses.append(decoder.model(utt_id=keys, **batch)[0])
    assert torch.equal(*losses)


def test_checkpoint_of_other_shape_is_named(trained, tmp_path):
    from espnet_psslm.inference.decoder import PSSLMDecoder

    exp = trained[0] / "exp"
    state = weights(exp / "2epoch.pth")
    state["projector.output.bias"] = torch.zeros(7)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"projector.output.bias \(7,\) in the file, \(32,\)"):
        PSSLMDecoder(exp / "config.yaml", tmp_path / "other.pth", device="cpu", source="text")


def test_packed_model_answers_alike(trained, tmp_path, monkeypatch):
    from espnet_model_zoo.downloader import ModelDownloader

    from espnet_psslm.bin.pack import main as pack

    folder, _ = trained
    manifest = ("--manifest", str(folder / "data.jsonl"), "--oracle", "true")
    infer(folder, tmp_path / "before", *manifest)
    pack(
        [
            *("--psslm_train_config", str(folder / "exp/config.yaml")),
            *("--psslm_model_file", str(folder / "exp/valid.loss.ave.pth")),
            *("--outpath", str(tmp_path / "psslm.zip")),
        ]
    )
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "psslm.zip", tmp_path / "moved/psslm.zip")
    monkeypatch.chdir(tmp_path / "moved")
    cache = tmp_path / "cache"
    files = ModelDownloader(cachedir=cache).download_and_unpack(str(tmp_path / "moved/psslm.zip"))
    from espnet_psslm.bin.psslm_inference import main

    main(
        [
            *("--psslm_train_config", files["psslm_train_config"]),
            *("--psslm_model_file", files["psslm_model_file"]),
            *("--output_dir", str(tmp_path / "after"), "--batch_size", "5"),
            *("--max_new_tokens", "8", "--device", "cpu", *manifest),
        ]
    )
    for task in ("ASR", "SLU_scenario"):
        before = answers(tmp_path / "before", task)
        assert list(before) == [row["key"] for row in text_rows(task)]
        assert answers(tmp_path / "after", task) == before
    assert len(set(before.values())) > 1


def test_units_start_as_the_mean_embedding_of_their_text(units_folder, prompt_file):
    from espnet_psslm.tasks.psslm_parts import unit_text_embeddings
    from espnet_psslm.text.prompt import PromptBook
    from espnet_psslm.text.units import SentencePieceUnits

    tokenizer = build_tokenizer()
    units = SentencePieceUnits(units_folder / "tokens.txt", bpemodel=units_folder / "bpe.model")
    embedding = torch.nn.Embedding(len(tokenizer), 8)
    embeddings = embedding.weight.detach()
    table = unit_text_embeddings(units, PromptBook(prompt_file, tokenizer), embedding)
    texts = units.unit_texts()
    unit = max(range(len(texts)), key=lambda i: len(texts[i]))
    ids = tokenizer(texts[unit])["input_ids"]
    torch.testing.assert_close(table[unit], embeddings[ids].mean(0))
    spoken = [i for i, text in enumerate(texts) if text]
    torch.testing.assert_close(table[units.blank_id], table[spoken].mean(0))


@pytest.fixture
def audio(trained, monkeypatch, tmp_path):
    """Manifest with audio that a fake acoustic model hears as the sentences' own units."""
    from espnet_psslm.text.units import SentencePieceUnits

    folder, _ = trained
    config = yaml.safe_load((folder / "exp/config.yaml").read_text())
    units = SentencePieceUnits(config["token_list"], bpemodel=config["bpemodel"])
    monkeypatch.setattr(
        "espnet_psslm.acoustic.model.load_ctc_acoustic", lambda *_: LevelAcoustic(units.tokens)
    )
    rows = []
    for row in text_rows():
        heard = [value for unit in units.encode(row["GT"]) for value in (unit, 0)]
        samples = np.repeat(np.array(heard) / 100, 320)
        path = tmp_path / f"{row['key']}.wav"
        soundfile.write(path, samples, RATE, subtype="FLOAT")
        rows.append(row | {"path": str(path)})
    return rows


def test_audio_of_a_perfect_acoustic_model_answers_as_oracle(trained, audio, tmp_path):
    folder, _ = trained
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(4000), RATE, subtype="FLOAT")
    rows = [*audio, {"key": "mute", "task": "ASR", "target": "x", "path": str(silence)}]
    manifest = write_jsonl(tmp_path / "audio.jsonl", rows)
    infer(folder, tmp_path / "audio", "--manifest", str(manifest))
    gt = write_jsonl(tmp_path / "gt.jsonl", text_rows())
    infer(folder, tmp_path / "oracle", "--manifest", str(gt), "--oracle", "true")
    heard, oracle = answers(tmp_path / "audio"), answers(tmp_path / "oracle")
    assert heard.pop("mute") == ""  # the key stays
    assert heard == oracle
    scores = (tmp_path / "audio/ASR/1best_recog/score").read_text().splitlines()
    assert [line.split()[0] for line in scores] == [row["key"] for row in rows]
    stats = json.loads((tmp_path / "audio/ASR/stats.json").read_text())
    duration_s = sum(soundfile.info(row["path"]).duration for row in rows)
    assert stats["audio_s"] == pytest.approx(duration_s, abs=1e-3)
    assert stats["num_samples"] == len(rows)
    assert stats["wall_s"] > 0
    whole = json.loads((tmp_path / "audio/stats.json").read_text())
    assert whole.keys() == {"peak_rss_mb", "load_s", "num_rows", "max_skipped"}
    assert whole["peak_rss_mb"] > 50


def test_audio_that_tasks_share_is_read_once(trained, audio, tmp_path, monkeypatch):
    from espnet_psslm.data import preprocessor

    folder, _ = trained
    both = [*audio, *({**r, "key": r["key"] + "-2", "task": "SLU_scenario"} for r in audio)]
    manifest = ("--manifest", str(write_jsonl(tmp_path / "both.jsonl", both)))
    infer(folder, tmp_path / "alone", *manifest, "--tasks", "SLU_scenario")
    read = []
    real = preprocessor.read_audio
    monkeypatch.setattr(preprocessor, "read_audio", lambda path: (read.append(path), real(path))[1])
    infer(folder, tmp_path / "both", *manifest)
    assert read == [row["path"] for row in audio]
    again, alone = (answers(tmp_path / name, "SLU_scenario") for name in ("both", "alone"))
    assert again == alone
    assert len(set(alone.values())) > 1


def test_rows_that_cannot_be_used_are_named(trained, audio, tmp_path, capsys):
    folder, _ = trained
    Path(audio[2]["path"]).unlink()
    Path(audio[5]["path"]).write_text("no audio")
    manifest = write_jsonl(tmp_path / "audio.jsonl", audio)
    with pytest.raises(SystemExit) as stop:
        infer(folder, tmp_path / "out", "--manifest", str(manifest))
    assert stop.value.code == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert "error: 2 of 8 rows cannot be used" in message
    assert ", the first utt2-ASR: " in message
    good = [row["key"] for i, row in enumerate(audio) if i not in (2, 5)]
    assert list(answers(tmp_path / "out")) == good
    skipped = (tmp_path / "out/skipped.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in skipped] == ["utt2-ASR", "utt5-ASR"]
    assert audio[5]["path"] in skipped[1]
    infer(folder, tmp_path / "out", "--manifest", str(manifest), "--max_skipped", "0.5")
    infer(folder, tmp_path / "out", "--manifest", str(manifest), "--judge_skipped", "false")


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (("--tasks", "SLU_action"), r"--tasks \['SLU_action'\].*rows of \['ASR', 'SLU_scenario'\]"),
        (("--source", "audio"), "16 of 16 rows cannot be used.*no field 'path'"),
        (("--asr_model_file", "x"), "together, or neither"),
        (("--beam_size", "0"), "beam_size"),
        (("--psslm_model_file", "/nowhere.pth"), "/nowhere.pth does not exist"),
        (("--psslm_train_config", "/nowhere.yaml"), "/nowhere.yaml does not exist"),
    ],
)
def test_one_clear_line(trained, audio, tmp_path, capsys, more, match):
    folder, _ = trained
    with pytest.raises(SystemExit):
        infer(folder, tmp_path / "out", "--manifest", str(folder / "data.jsonl"), *more)
    assert re.search(match, capsys.readouterr().err.splitlines()[-1])


def test_only_the_wanted_task(trained, tmp_path):
    manifest = ("--manifest", str(trained[0] / "data.jsonl"))
    infer(trained[0], tmp_path, *manifest, "--oracle", "true", "--tasks", "SLU_scenario")
    assert {path.name for path in tmp_path.iterdir()} == {
        "SLU_scenario", "skipped.txt", "stats.json", "made_with.json"
    }  # fmt: skip
    assert json.loads((tmp_path / "SLU_scenario/stats.json").read_text())["audio_s"] == 0


def test_unknown_task_of_the_manifest(trained, tmp_path, capsys):
    manifest = write_jsonl(tmp_path / "m.jsonl", [text_rows()[0] | {"task": "ARS"}])
    with pytest.raises(SystemExit):
        infer(trained[0], tmp_path / "out", "--manifest", str(manifest))
    assert "m.jsonl:1: " in capsys.readouterr().err


def test_decoder_raises_on_a_bad_row_and_keeps_the_order(trained):
    from espnet_psslm.inference.decoder import PSSLMDecoder

    exp = trained[0] / "exp"
    decoder = PSSLMDecoder(
        exp / "config.yaml",
        exp / "2epoch.pth",
        device="cpu",
        oracle=True,
        batch_size=3,
        max_new_tokens=8,
    )
    rows = text_rows()
    together = decoder.decode(rows)
    alone = [decoder.decode([row])[0] for row in rows]
    assert [hyp.token_ids for hyp in together] == [hyp.token_ids for hyp in alone]
    with pytest.raises(ValueError, match="'utt0-ASR'.*'GT'"):
        decoder.decode([{"key": "utt0-ASR", "task": "ASR", "target": "x", "path": "a.wav"}])
