"""Our SenseVoice against FunASR's own inference: random weights, true configuration and CMVN."""

import shutil

import numpy as np
import pytest
import torch

from espnet_psslm.acoustic.sensevoice import BPE_MODEL, load_sensevoice
from tests.sensevoice_setting import save_sensevoice
from tests.tiny_training import BRIDGE, train_bridge

LENGTHS = (16000, 9000, 480, 27123)
TOLERANCE = {"rtol": 0.0, "atol": 1e-4}


@pytest.fixture(scope="module")
def folder(shared_data, tmp_path_factory):
    return save_sensevoice(shared_data, tmp_path_factory.mktemp("sensevoice"))


@pytest.fixture(scope="module")
def waves():
    rng = np.random.default_rng(0)
    time = np.arange(max(LENGTHS)) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 440 * time * (1 + 0.1 * time))
    noise = 0.02 * rng.standard_normal(len(time))
    return [torch.tensor((tone + noise)[:length], dtype=torch.float32) for length in LENGTHS]


def padded(waves, fill=0.0):
    speech = torch.full((len(waves), max(map(len, waves))), fill)
    for row, wave in zip(speech, waves, strict=True):
        row[: len(wave)] = wave
    return speech, torch.tensor([len(wave) for wave in waves])


def funasr_inference(folder, wave, monkeypatch, **options):
    """Features, encoder output and log posterior inside FunASR's ``inference`` of one waveform."""
    from funasr import AutoModel

    state, threads = torch.get_rng_state(), torch.get_num_threads()
    model, conf = AutoModel.build_model(
        model=str(folder),
        device="cpu",
        disable_update=True,
        tokenizer_conf={"bpemodel": str(folder / BPE_MODEL)},
        frontend_conf={"cmvn_file": str(folder / "am.mvn"), "dither": 0.0},
    )
    torch.set_rng_state(state)
    torch.set_num_threads(threads)
    seen = {}
    log_softmax, frontend = model.ctc.log_softmax, conf["frontend"]

    def spy(encoded):
        seen["encoded"], seen["log_posterior"] = encoded, log_softmax(encoded)
        return seen["log_posterior"]

    monkeypatch.setattr(model.ctc, "log_softmax", spy)
    forward = frontend.forward
    monkeypatch.setattr(
        frontend, "forward", lambda *a, **k: seen.setdefault("features", forward(*a, **k))
    )
    with torch.no_grad():
        model.inference(
            [wave.numpy()], key=["a"], tokenizer=conf["tokenizer"], frontend=frontend,
            device="cpu", **options,
        )  # fmt: skip
    return seen


@pytest.mark.parametrize(
    ("query_ids", "options"),
    [((0, 1, 2, 15), {}), ((4, 1, 2, 14), {"language": "en", "use_itn": True})],
)
def test_equals_funasr_inference(folder, waves, monkeypatch, query_ids, options):
    ours = load_sensevoice(str(folder), query_ids=query_ids)
    speech, lengths = padded(waves, fill=0.5)
    log_posterior, frames = ours.log_posterior(speech, lengths)
    encoded, _ = ours.encode(speech, lengths)
    for row, wave in enumerate(waves):
        theirs = funasr_inference(folder, wave, monkeypatch, **options)
        features, count = ours.frontend(wave[None], [len(wave)])
        torch.testing.assert_close(features, theirs["features"][0], **TOLERANCE)
        assert int(frames[row]) == int(count[0]) == theirs["encoded"].shape[1] - 4
        valid = slice(0, int(frames[row]))
        torch.testing.assert_close(encoded[row, valid], theirs["encoded"][0, 4:], **TOLERANCE)
        torch.testing.assert_close(
            log_posterior[row, valid], theirs["log_posterior"][0, 4:], **TOLERANCE
        )


def test_published_queries_change_the_output(folder, waves):
    speech, lengths = padded(waves)
    default, published = (
        load_sensevoice(str(folder), **options).encode(speech, lengths)[0]
        for options in ({}, {"query_ids": (0, 1, 2, 2)})
    )
    assert (default - published)[0].abs().max() > 1e-3


def test_batch_equals_single_and_nothing_is_drawn(folder, waves):
    model = load_sensevoice(str(folder)).train()
    together, frames = model.encode(*padded(waves))
    for row, wave in enumerate(waves):
        for _ in range(2):
            alone, count = model.encode(*padded([wave]))
            assert count.tolist() == [int(frames[row])]
            torch.testing.assert_close(
                alone[0], together[row, : int(count[0])], rtol=0.0, atol=1e-5
            )


def test_empty_and_too_long(folder):
    model = load_sensevoice(str(folder), max_duration_s=2.0)
    assert model.log_posterior(torch.zeros(2, 500), torch.tensor([5, 500]))[1].tolist() == [0, 1]
    assert model.encode(torch.zeros(1, 0), torch.tensor([0]))[1].tolist() == [0]
    with pytest.raises(ValueError, match=r"of 2\.5 s is longer than the 2 s"):
        model.encode(torch.zeros(1, 40000), torch.tensor([40000]))


def test_what_does_not_fit_is_named(folder, tmp_path):
    with pytest.raises(ValueError, match="query_ids"):
        load_sensevoice(str(folder), query_ids=(0, 1))
    shutil.copytree(folder, tmp_path / "other")
    state = torch.load(folder / "model.pt", weights_only=True)
    del state["embed.weight"]
    torch.save(state, tmp_path / "other/model.pt")
    with pytest.raises(ValueError, match="does not fit config.yaml.*embed.weight"):
        load_sensevoice(str(tmp_path / "other"))
    (tmp_path / "other/am.mvn").unlink()
    with pytest.raises(ValueError, match="no file am.mvn"):
        load_sensevoice(str(tmp_path / "other"))
    with pytest.raises(ValueError, match="hub 'x' is unknown"):
        load_sensevoice(str(tmp_path / "nowhere"), hub="x")


def test_it_is_an_acoustic_side_of_the_bridge(folder, lm_folder, prompt_file, waves, tmp_path):
    """Text-only training on its units, Steps dumped, decoding from audio and from the dump."""
    import json

    import soundfile

    from espnet_psslm.bin import dump_steps
    from espnet_psslm.inference.decoder import PSSLMDecoder
    from tests.helpers import text_rows, write_jsonl

    rows = []
    for row, wave in zip(text_rows(), waves, strict=False):
        path = tmp_path / f"{row['key']}.wav"
        soundfile.write(path, wave.numpy(), 16000, subtype="FLOAT")
        rows.append(row | {"path": str(path), "utt": row["key"]})
    manifest = write_jsonl(tmp_path / "psslm.jsonl", rows)
    columns = {
        "wav.scp": [row["path"] for row in rows],
        "text": [row["GT"] for row in rows],
        "utt2num_samples": [len(wave) for wave in waves],
    }
    for name, values in columns.items():
        lines = [f"{row['key']} {value}\n" for row, value in zip(rows, values, strict=True)]
        (tmp_path / name).write_text("".join(lines))
    config = BRIDGE | {
        "source": "text",
        "token_type": "sensevoice",
        "bpemodel": str(folder / BPE_MODEL),
        "acoustic_conf": {"sensevoice": str(folder), "query_ids": [0, 1, 2, 2]},
        "prompt_file": str(prompt_file),
        "llm_conf": {"name": str(lm_folder), "dtype": "float32"},
        "projector_conf": {"hidden": 64},
        "projector_init": "unit_text",
        "batch_size": 2,
    }
    train_bridge(tmp_path / "exp", config, manifest)

    def decode(rows, **options):
        decoder = PSSLMDecoder(
            tmp_path / "exp/config.yaml", tmp_path / "exp/1epoch.pth", device="cpu", **options,
            max_new_tokens=4,
        )  # fmt: skip
        return decoder.decode(rows)

    assert all(hyp.score < 0.0 for hyp in decode(rows, oracle=True))
    heard = [hyp.score for hyp in decode(rows)]
    assert any(heard)
    dump_steps.main(
        [
            *(
                "--sensevoice",
                str(folder),
                "--data_dir",
                str(tmp_path),
                "--reduction_conf",
                "max_units=16",
            ),
            *("--output_dir", str(tmp_path / "steps"), "--device", "cpu"),
        ]
    )
    dumped = [json.loads(line) for line in (tmp_path / "steps/psslm.jsonl").open()]
    default = {"sensevoice": str(folder)}
    scores = [hyp.score for hyp in decode(dumped, source="steps")]
    again = [hyp.score for hyp in decode(rows, source="audio", acoustic_conf=default)]
    assert scores == pytest.approx(again, abs=5e-3)
