"""Make the packs of this folder: tiny models that an earlier version has trained and packed.

Run in a checkout of that version, with this checkout's script::

    git worktree add ../earlier 7edc2fb && cd ../earlier
    PYTHONPATH=. python ../espnet_psslm/tests/golden/make_packs.py --output_dir FOLDER \\
        --kinds posterior feature

and with ``e4a2153`` and ``--kinds posterior``, another folder. Writes ``posterior.zip`` (text-only
training, a frozen language model) and ``feature.zip`` (of encoder outputs, LoRA),
``hypotheses.json``, what each of them answers, and in ``models`` what they are built on: a random
Whisper of two layers and a random language model.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

OPTIONS = {"device": "cpu", "beam_size": 2, "max_new_tokens": 6, "nbest": 2}
TASKS = ("ASR", "SLU_scenario")
HERTZ = (300, 900, 2500)  # of the words that tests/ctc_setting.py trains on
MODELS = "models"
KINDS = {
    "posterior": {
        "source": "no_audio",
        "projector_conf": {"hidden": 16},
        "reduction": "drop_then_merge",
        "reduction_conf": {"blank_threshold": 0.7, "max_units": 8},
    },
    "feature": {
        "source": "audio",
        "step_kind": "feature",
        "projector": "linear",
        "projector_conf": {"k": 2, "hidden": 16},
        "reduction_conf": {"blank_threshold": 0.8},
        "tuning": "lora",
        "tuning_conf": {"r": 2},
    },
}


def waveforms() -> list[np.ndarray]:
    """What is asked: one to three tones with noise, 16 kHz, on the grid of 16 bits."""
    rng = np.random.default_rng(7)
    waves = []
    for tones in ((0,), (1, 2), (2, 0, 1), (0, 2)):
        time = np.arange(4200) / 16000
        signal = np.concatenate([0.3 * np.sin(2 * np.pi * HERTZ[tone] * time) for tone in tones])
        signal += 0.01 * rng.standard_normal(len(signal))
        waves.append((np.round(signal * 2**15) / 2**15).astype(np.float32))
    return waves


def answers(archive: Path) -> dict[str, list[Any]]:
    """Text, tokens and score of all hypotheses, by task and waveform."""
    from espnet_psslm.bin.psslm_inference import Speech2Text

    speech2text = Speech2Text.from_pretrained(str(archive), **OPTIONS)
    return {
        task: [
            [
                {"text": text, "tokens": tokens, "token_ids": ids, "log_prob": hypothesis.log_prob}
                for text, tokens, ids, hypothesis in found
            ]
            for found in speech2text(waveforms(), task)
        ]
        for task in TASKS
    }


def words(command: Sequence[object]) -> list[str]:
    """A command line."""
    return [str(word) for word in command]


def make_pack(kind: str, changes: Mapping[str, Any]) -> Path:
    """Train a bridge in the working folder, and pack it."""
    import yaml

    from espnet_psslm.bin import pack, psslm_train

    config = {
        "acoustic_conf": {
            "train_config": "ctc/config.yaml",
            "model_file": "ctc/valid.loss.ave.pth",
        },
        "llm_conf": {"name": f"{MODELS}/lm"},
        "model_conf": {"extract_feats_in_collect_stats": False},
        "optim": "adamw",
        "optim_conf": {"lr": 1.0e-2},
        "batch_type": "unsorted",
        "batch_size": 6,
        "max_epoch": 3,
        "keep_nbest_models": 1,
        "best_model_criterion": [["valid", "loss", "min"]],
        "num_workers": 0,
        "num_att_plot": 0,
        "use_matplotlib": False,
        "use_tensorboard": False,
        "token_list": "units/tokens.txt",
        "bpemodel": "units/bpe.model",
        "prompt_file": "prompts.jsonl",
    } | changes
    Path(f"{kind}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    rows = Path("psslm.jsonl").read_text(encoding="utf-8").splitlines()
    Path("shapes").write_text("".join(f"{json.loads(row)['key']} 10\n" for row in rows))
    command = ["--config", f"{kind}.yaml", "--output_dir", kind]
    for part in ("train", "valid"):
        command += [f"--{part}_data_path_and_name_and_type", "psslm.jsonl,sample,psslm_jsonl"]
        command += [f"--{part}_shape_file", "shapes"]
    psslm_train.main(words(command))
    archive = Path(f"{kind}.zip")
    options = ["--psslm_train_config", f"{kind}/config.yaml", "--outpath", archive]
    pack.main(words([*options, "--psslm_model_file", f"{kind}/valid.loss.ave.pth"]))
    return archive


def main() -> None:
    """Make what the options name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", type=Path, required=True, help="an empty or new folder")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), required=True)
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    os.chdir(args.output_dir)  # relative names stand in the packs

    from espnet_psslm.bin import asr_train
    from tests.ctc_setting import Setting
    from tests.helpers import PROMPTS, save_language_model, write_jsonl

    setting = Setting(Path())
    Path(MODELS).mkdir()
    Path("whisper").rename(f"{MODELS}/whisper")
    save_language_model(Path(MODELS) / "lm")
    write_jsonl(Path("prompts.jsonl"), PROMPTS)
    encoder = {"freeze": "encoder", "conv_kernel": 3, "conv_stride": 3}
    encoder["name"] = f"{MODELS}/whisper"
    # Long enough to hear units: where blanks alone are heard there is no answer.
    more = {"encoder_conf": encoder, "max_epoch": 20, "keep_nbest_models": 1}
    command = setting.command(Path("ctc"), **more)
    asr_train.main(command)
    said = {kind: answers(make_pack(kind, KINDS[kind])) for kind in args.kinds}
    Path("hypotheses.json").write_text(json.dumps(said) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
