"""From audio to the picture, through a tiny bridge and an acoustic model that hears levels."""

import json

import numpy as np
import pytest
import soundfile
import torch
import yaml

from espnet_psslm.bin import plot_steps
from tests.fake_acoustic import LevelAcoustic
from tests.helpers import text_rows, write_jsonl

RATE = 16000


@pytest.fixture
def options(lm_folder, units_folder, prompt_file, tmp_path, monkeypatch):
    from espnet_psslm.tasks.psslm import PSSLMTask

    tokens = (units_folder / "tokens.txt").read_text().splitlines()
    monkeypatch.setattr(
        "espnet_psslm.acoustic.model.load_ctc_acoustic", lambda *_: LevelAcoustic(tokens)
    )
    config = {
        "llm_conf": {"name": str(lm_folder)},
        "token_list": str(units_folder / "tokens.txt"),
        "bpemodel": str(units_folder / "bpe.model"),
        "prompt_file": str(prompt_file),
        "acoustic_conf": {"train_config": "x", "model_file": "y"},
        "projector": "linear-silu",
        "projector_conf": {"hidden": 16},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    args = PSSLMTask.get_parser().parse_args(["--config", str(tmp_path / "config.yaml")])
    torch.manual_seed(0)
    torch.save(PSSLMTask.build_model(args).state_dict(), tmp_path / "model.pth")
    rows = []
    for row, units in zip(text_rows(), ([5, 5, 0, 7], [6], [0, 0]), strict=False):
        path = tmp_path / f"{row['key']}.wav"
        soundfile.write(path, np.repeat(np.array(units) / 100, 320), RATE, subtype="FLOAT")
        rows.append(row | {"path": str(path)})
    write_jsonl(tmp_path / "audio.jsonl", rows)
    return [
        *("--psslm_train_config", str(tmp_path / "config.yaml")),
        *("--psslm_model_file", str(tmp_path / "model.pth")),
        *("--output_dir", str(tmp_path / "plots"), "--max_new_tokens", "4", "--device", "cpu"),
        *("--manifest", str(tmp_path / "audio.jsonl")),
    ]


def test_pictures(options, tmp_path, monkeypatch):
    drawn = []
    real = plot_steps.listen
    monkeypatch.setattr(plot_steps, "listen", lambda *a: drawn.append(real(*a)) or drawn[-1])
    plot_steps.main([*options, "--num_rows", "3"])
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert names == ["utt0-ASR.png", "utt1-ASR.png", "utt2-ASR.png"]
    speech, _, silence = drawn
    assert (speech.spans, speech.unit_ids) == ([(0, 2), (3, 4)], [5, 7])
    assert speech.posterior.argmax(1).tolist() == [5, 5, 0, 7]
    assert len(speech.tokens) > 0
    assert speech.title == f"utt0-ASR: {''.join(speech.tokens).strip()}"
    assert (silence.spans, silence.tokens) == ([], [])


def test_chosen_rows_and_errors(options, tmp_path, capsys):
    plot_steps.main([*options, "--keys", "utt1-ASR"])
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["utt1-ASR.png"]
    write_jsonl(tmp_path / "text.jsonl", text_rows())
    for more, message in (
        (["--keys", "utt9"], "--keys utt9: not in"),
        (["--manifest", str(tmp_path / "text.jsonl")], "'utt0-ASR' has no audio"),
    ):
        with pytest.raises(SystemExit):
            plot_steps.main([*options, *more])
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_rows_are_those_of_the_manifest(options, tmp_path):
    args = plot_steps.get_parser().parse_args([*options, "--num_rows", "2"])
    lines = (tmp_path / "audio.jsonl").read_text().splitlines()
    assert plot_steps.choose(args) == [json.loads(line) for line in lines[:2]]
