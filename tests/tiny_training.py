"""Trainings of seconds: each test says only what its own one has beside."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

BRIEF = {
    "optim": "adamw",
    "max_epoch": 1,
    "keep_nbest_models": 1,
    "best_model_criterion": [["valid", "loss", "min"]],
    "num_workers": 0,
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
}
BRIDGE = BRIEF | {
    "projector_conf": {"hidden": 16},
    "model_conf": {"extract_feats_in_collect_stats": False},
    "batch_type": "unsorted",
    "batch_size": 6,
}


def bridge_files(*, lm: Path, units: Path, prompts: Path) -> dict[str, Any]:
    """What a bridge's configuration names: language model, folder of units, prompt file."""
    return {
        "llm_conf": {"name": str(lm), "dtype": "float32"},
        "token_list": str(units / "tokens.txt"),
        "bpemodel": str(units / "bpe.model"),
        "prompt_file": str(prompts),
    }


def files_in(folder: Path) -> dict[str, Any]:
    """The same, where the tests keep all in one folder, with the acoustic model in ``ctc``."""
    files = bridge_files(lm=folder / "lm", units=folder / "units", prompts=folder / "prompts.jsonl")
    ctc = {"train_config": folder / "ctc/config.yaml"}
    ctc["model_file"] = folder / "ctc/valid.loss.ave.pth"
    return files | {"acoustic_conf": {name: str(path) for name, path in ctc.items()}}


def write_shapes(manifest: Path, path: Path) -> Path:
    """Write lengths that grow from row to row."""
    keys = [json.loads(line)["key"] for line in manifest.read_text("utf-8").splitlines()]
    path.write_text("".join(f"{key} {40 + place}\n" for place, key in enumerate(keys)))
    return path


def bridge_command(
    output: Path,
    config: Mapping[str, Any],
    manifest: Path,
    *more: str,
    valid: Path | None = None,
) -> list[str]:
    """Command line of a training on the rows of a manifest; without ``valid`` they validate too."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "given.yaml").write_text(yaml.safe_dump(dict(config)))
    command = ["--config", str(output / "given.yaml"), "--output_dir", str(output), *more]
    for part, rows in (("train", manifest), ("valid", valid or manifest)):
        shapes = write_shapes(rows, output / f"{part}.shape")
        command += [f"--{part}_data_path_and_name_and_type", f"{rows},sample,psslm_jsonl"]
        command += [f"--{part}_shape_file", str(shapes)]
    return command


def train_bridge(output: Path, config: Mapping[str, Any], manifest: Path, *more: str) -> Path:
    """Train one; returns its folder."""
    from espnet_psslm.bin.psslm_train import main

    main(bridge_command(output, config, manifest, *more))
    return output
