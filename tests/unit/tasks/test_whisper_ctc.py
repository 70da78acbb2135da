"""Whisper-CTC through ESPnet's own training loop: train, resume, average, decode, dump."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.main_funcs.pack_funcs import pack
from transformers import WhisperModel

from espnet_psslm.acoustic.gathered_ctc import PlacedCTCLoss
from espnet_psslm.acoustic.long_audio import window_starts
from espnet_psslm.acoustic.model import load_ctc_acoustic
from espnet_psslm.bin import asr_inference, asr_train, dump_steps
from espnet_psslm.bridge.phone_sync_search import SEARCHES
from espnet_psslm.bridge.steps_file import read_steps
from espnet_psslm.pack_files import open_pack
from espnet_psslm.tasks.psslm_parts import build_acoustic, inline_files
from espnet_psslm.tasks.whisper_ctc import WhisperCTCTask
from tests.ctc_setting import CONFIG, NUM_UTTS, Setting
from tests.helpers import run_and_fail, tiny_whisper_config


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(tmp_path_factory.mktemp("ctc"))


@pytest.fixture(scope="module")
def trained(setting: Setting) -> Path:
    """An experiment folder after two epochs in two runs (the second resumes)."""
    exp = setting.folder / "exp"
    asr_train.main(setting.command(exp, max_epoch=1))
    asr_train.main(setting.command(exp))
    return exp


@pytest.fixture(scope="module")
def espnets_model(trained: Path) -> ESPnetASRModel:
    """The trained model as ESPnet's own task builds and loads it."""
    files = (str(trained / name) for name in ("config.yaml", "valid.loss.ave.pth"))
    model, _ = WhisperCTCTask.build_model_from_file(*files, "cpu")
    return model.eval()


def test_ctc_loss_goes_where_there_is_one(espnets_model: ESPnetASRModel) -> None:
    assert isinstance(espnets_model.ctc.ctc_loss, PlacedCTCLoss)


def test_loaded_without_espnets_task_it_is_the_same_model(
    trained: Path, espnets_model: ESPnetASRModel
) -> None:
    acoustic = load_ctc_acoustic(trained / "config.yaml", trained / "valid.loss.ave.pth")
    speech, lengths = 0.1 * torch.randn(2, 16000), torch.tensor([16000, 8000])
    encoded, frames = espnets_model.encode(speech, lengths)
    ours, our_frames = acoustic.encode(speech, lengths)
    assert torch.equal(ours, encoded) and torch.equal(our_frames, frames)
    assert torch.equal(acoustic.classify(ours), espnets_model.ctc.log_softmax(encoded))
    assert acoustic.token_list == espnets_model.token_list
    assert (acoustic.blank_id, acoustic.model.eos) == (espnets_model.blank_id, espnets_model.eos)


def test_only_a_whisper_ctc_model_is_loaded(trained: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((trained / "config.yaml").read_text())
    for change, message in (
        ({"encoder": "conformer"}, "needs encoder: hf_whisper .* not conformer and whisper_log"),
        ({"frontend": "default"}, "needs .* frontend: whisper_log_mel, not hf_whisper and default"),
        ({"ctc_conf": None}, "config.yaml: lacks 'ctc_conf'; give the config.yaml of asr_train"),
    ):
        changed = {key: value for key, value in (config | change).items() if value is not None}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(changed))
        with pytest.raises(ValueError, match=message):
            load_ctc_acoustic(tmp_path / "config.yaml", trained / "valid.loss.ave.pth")


def test_resumed_training_equals_one_run(setting: Setting, trained: Path) -> None:
    straight = setting.folder / "straight"
    asr_train.main(setting.command(straight))
    ours, theirs = (torch.load(exp / "2epoch.pth") for exp in (trained, straight))
    assert set(ours) == {
        "encoder.downsample.conv.weight", "encoder.downsample.conv.bias",
        "ctc.ctc_lo.weight", "ctc.ctc_lo.bias",
    }  # fmt: skip
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], msg=name)


def test_partly_frozen_training_learns(setting: Setting) -> None:
    exp = setting.folder / "layers"
    conf = {"freeze": {"layers": [0]}, "conv_kernel": 3, "conv_stride": 3}
    asr_train.main(setting.command(exp, encoder_conf=conf, max_epoch=8))
    state = torch.load(exp / "8epoch.pth")
    assert "encoder.whisper.layers.1.fc1.weight" in state
    assert not any(".layers.0." in name or "conv1" in name for name in state)
    reporter = torch.load(exp / "checkpoint.pth")["reporter"]["stats"]
    assert reporter[8]["valid"]["loss"] < 0.7 * reporter[1]["valid"]["loss"]


def test_averaged_model_decodes_the_same_in_any_batch(setting: Setting, trained: Path) -> None:
    texts = []
    for batch_size in (1, 5):
        output = setting.folder / f"decode{batch_size}"
        options = ["--output_dir", str(output), "--batch_size", str(batch_size)]
        asr_inference.main([*setting.model_options(trained), *options])
        texts.append((output / "1best_recog/token_int").read_text())
        stats = json.loads((output / "stats.json").read_text())
        assert stats["num_utts"] == NUM_UTTS and stats["wall_s"] > 0 and stats["audio_s"] > 3
    assert texts[0] == texts[1]
    keys = [line.split()[0] for line in (output / "1best_recog/text").read_text().splitlines()]
    assert keys == [f"utt{index:02d}" for index in range(NUM_UTTS)]


def test_posterior(setting: Setting, trained: Path) -> None:
    model = load_ctc_acoustic(trained / "config.yaml", trained / "valid.loss.ave.pth")
    assert model.blank_id == 0 and model.num_units == len(model.token_list)
    assert model.frame_shift_s == pytest.approx(0.06) and model.max_duration_s == 4.0
    assert not model.train().training
    lengths = torch.tensor([16000, 8000, 100])
    log_posterior, frames = model.log_posterior(torch.randn(3, 16000), lengths)
    assert frames.tolist() == [17, 9, 0] and not log_posterior.requires_grad
    torch.testing.assert_close(log_posterior.exp().sum(2), torch.ones(3, 17))
    assert model.log_posterior(torch.zeros(1, 5), torch.tensor([5]))[1].tolist() == [0]
    speech = torch.randn(2, 16000 * 9 + 7)
    log_posterior, frames = model.log_posterior(speech, torch.tensor([16000 * 9 + 7, 8000]))
    assert frames.tolist() == [150, 9] and log_posterior.shape[1] == 150
    short, _ = model.log_posterior(speech[1:, :8000], torch.tensor([8000]))
    torch.testing.assert_close(log_posterior[1, :9], short[0], atol=1e-5, rtol=1e-5)
    # Every row is that of a window around it: four seconds are 66 frames of 960 samples.
    source = []
    for first in window_starts(151, window=66, overlap=16):
        piece = speech[:1, 960 * first : 960 * (first + 66)]
        rows, _ = model.log_posterior(piece, torch.tensor([piece.shape[1]]))
        found = torch.full((150,), False)
        end = min(first + rows.shape[1], 150)
        near = (log_posterior[0, first:end] - rows[0, : end - first]).abs().amax(1) < 1e-4
        found[first:end] = near
        source.append(found)
    assert torch.stack(source).any(0).all() and all(found.sum() >= 30 for found in source)


def test_bfloat16_trains_and_decodes(trained: Path) -> None:
    """What ``use_amp: true`` does on a GPU, by the CPU's autocast."""
    acoustic = load_ctc_acoustic(trained / "config.yaml", trained / "valid.loss.ave.pth")
    torch.manual_seed(0)
    speech, lengths = 0.1 * torch.randn(3, 9000), torch.tensor([9000, 8000, 5000])
    text, text_lengths = torch.tensor([[3, 4, 3], [5, 3, -1], [4, -1, -1]]), torch.tensor([3, 2, 1])
    weights = [p for p in acoustic.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2)
    losses = []
    for _ in range(6):
        with torch.autocast("cpu", torch.bfloat16):
            loss, _, _ = acoustic.model(speech, lengths, text, text_lengths)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in weights)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    wanted, frames = acoustic.log_posterior(speech, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        rows, _ = acoustic.log_posterior(speech, lengths)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.exp(), wanted.exp(), rtol=0.0, atol=0.05)
    for name, search in SEARCHES.items():
        found = search(blank_id=acoustic.blank_id)(rows.bfloat16(), frames)
        assert len(found.nbest) == 3, name


def test_packed_model_is_an_acoustic_side(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # archives are unpacked below it
    archive = tmp_path / "ctc.zip"
    monkeypatch.chdir(trained)
    pack({"asr_model_file": "valid.loss.ave.pth"}, {"asr_train_config": "config.yaml"}, archive)
    conf = {"packed": str(archive)}
    args = Namespace(source="audio", token_list=[], simulator_conf={}, acoustic_conf=conf)
    inline_files(args)
    assert args.acoustic_conf.keys() == {"train_config", "model_file"}
    acoustic = build_acoustic(args, None)
    speech, lengths = 0.1 * torch.randn(2, 8000), torch.tensor([8000, 6000])
    expected = load_ctc_acoustic(trained / "config.yaml", trained / "valid.loss.ave.pth")
    found, wanted = (m.log_posterior(speech, lengths)[0] for m in (acoustic, expected))
    torch.testing.assert_close(found, wanted)
    with pytest.raises(ValueError, match="no psslm_train_config"):
        open_pack(archive)


def test_dump_steps(setting: Setting, trained: Path) -> None:
    output = setting.folder / "steps"
    dump_steps.main(
        [
            *setting.model_options(trained),
            "--output_dir",
            str(output),
            "--reduction_conf",
            "max_units=3",
        ]
    )
    rows = [json.loads(line) for line in (output / "psslm.jsonl").read_text().splitlines()]
    assert [row["utt"] for row in rows] == [f"utt{index:02d}" for index in range(NUM_UTTS)]
    lengths = [len(read_steps(row["steps"])[0]) for row in rows]
    stats = json.loads((output / "stats.json").read_text())
    assert stats["num_utts"] == NUM_UTTS and stats["steps"] == sum(lengths)
    assert stats["empty_utts"] == lengths.count(0)
    assert 0 <= stats["dropped_blank_mass"] <= stats["blank_mass"] <= stats["frames"]


def test_dump_steps_of_speech_made_harder(
    setting: Setting, trained: Path, capsys: pytest.CaptureFixture
) -> None:
    """The same utterances, heard otherwise, whatever is read beside them."""
    options = [*setting.model_options(trained), "--reduction_conf", "max_units=3"]
    heard = {}
    for name, more in {
        "plain": (),
        "harder": ("--harder", "0.5"),
        "again": ("--harder", "0.5", "--batch_size", "1"),
    }.items():
        output = setting.folder / name
        dump_steps.main([*options, "--output_dir", str(output), *more])
        lines = (output / "psslm.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        heard[name] = {row["utt"]: read_steps(row["steps"])[1] for row in rows}
    plain, harder, again = heard.values()
    assert plain.keys() == harder.keys()
    assert not any(
        harder[utt].shape == probs.shape and torch.equal(harder[utt], probs)
        for utt, probs in plain.items()
        if len(probs)
    )
    for utt, probs in harder.items():
        torch.testing.assert_close(again[utt], probs, atol=2e-3, rtol=0.0)
    options += ["--output_dir", str(setting.folder / "none"), "--harder", "1.5"]
    assert "--harder 1.5: give a strength" in run_and_fail(dump_steps.main, options, capsys)


def test_padded_to_30s(setting: Setting) -> None:
    """Trained and heard as Whisper was: the frames of the 30-second encoding, as many as spoken."""
    WhisperModel(tiny_whisper_config(1500)).save_pretrained(setting.folder / "whisper30")
    padded = {"pad_to_30s": True}
    changes = {
        "frontend_conf": padded, "max_epoch": 1, "keep_nbest_models": 1,
        "encoder_conf": CONFIG["encoder_conf"] | padded
        | {"name": str(setting.folder / "whisper30"), "freeze": {"layers": [0]}},
    }  # fmt: skip
    exp = setting.folder / "padded"
    asr_train.main(setting.command(exp, **changes))
    acoustic = load_ctc_acoustic(exp / "config.yaml", exp / "1epoch.pth")
    speech, lengths = 0.1 * torch.randn(2, 16000), torch.tensor([16000, 8000])
    log_posterior, frames = acoustic.log_posterior(speech, lengths)
    assert frames.tolist() == [17, 9] and log_posterior.shape[1] == 17
    encoder = acoustic.model.encoder
    with torch.no_grad():
        features, _ = acoustic.model.frontend(speech, lengths)
        whole = encoder.whisper(features.transpose(1, 2)).last_hidden_state[:, :50].clone()
        whole[1, 25:] = 0
        hidden, _ = encoder.downsample(whole, torch.tensor([50, 25]))
    expected = acoustic.classify(hidden)
    torch.testing.assert_close(log_posterior[0], expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(log_posterior[1, :9], expected[1, :9], atol=1e-5, rtol=1e-5)


def test_stock_espnet_decodes_it(trained: Path) -> None:
    """ESPnet's Speech2Text serves the model, with ctc_weight 1."""
    from espnet2.bin.asr_inference import Speech2Text

    decode = Speech2Text(
        asr_train_config=str(trained / "config.yaml"),
        asr_model_file=str(trained / "valid.loss.ave.pth"),
        ctc_weight=1.0,
        lm_weight=0.0,
        beam_size=2,
    )
    text, _, _, _ = decode(0.1 * np.random.default_rng(0).standard_normal(8000))[0]
    assert isinstance(text, str)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"normalize": "utterance_mvn"}, "set normalize: null"),
        ({"init": "xavier_uniform"}, "set init: null"),
        ({"frontend": "default"}, "set frontend: whisper_log_mel"),
        ({"train_dtype": "bfloat16"}, "set use_amp: true"),
        ({"model_conf": {"ctc_weight": 0.3}}, "set model_conf: ctc_weight: 1.0"),
        ({"encoder_conf": {"conv_kernel": 25, "conv_stride": 25}}, "smaller encoder_conf"),
    ],
)
def test_settings_that_spoil_a_model(
    setting: Setting, changes: dict, reason: str, capsys: pytest.CaptureFixture
) -> None:
    """One line, before training."""
    command = setting.command(setting.folder / "bad", **changes)
    assert reason in run_and_fail(asr_train.main, command, capsys)


def test_too_short_utterances_are_listed(setting: Setting) -> None:
    exp = setting.folder / "short"
    conf = {"conv_kernel": 25, "conv_stride": 25}
    command = setting.command(exp, encoder_conf=conf, max_epoch=1)
    asr_train.main([*command, "--max_ctc_too_short", "1.0"])
    listed = (exp / "ctc_too_short_train.txt").read_text().splitlines()
    assert listed and all("encoder frames, CTC needs" in line for line in listed)


def test_checkpoint_of_another_vocabulary(
    setting: Setting, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    state = torch.load(trained / "2epoch.pth")
    state["ctc.ctc_lo.weight"] = state["ctc.ctc_lo.weight"][:-1]
    torch.save(state, tmp_path / "other.pth")
    options = setting.model_options(trained) + ["--output_dir", str(tmp_path / "out")]
    options[options.index("--asr_model_file") + 1] = str(tmp_path / "other.pth")
    line = run_and_fail(asr_inference.main, options, capsys)
    assert "ctc.ctc_lo.weight" in line and "in the file" in line and "config.yaml" in line
    options[options.index("--asr_model_file") + 1] = str(tmp_path / "absent.pth")
    assert "does not exist" in run_and_fail(asr_inference.main, options, capsys)
