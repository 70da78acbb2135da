"""What answers and dumped Steps depend on, but for the data: model and options, as one hash.

Written beside results as ``made_with.json``: ``join_jobs`` joins no results of different models.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from espnet_psslm.atomic import atomic_text
from espnet_psslm.common.fingerprint import fingerprint
from espnet_psslm.common.yaml_file import read_yaml

MADE_WITH = "made_with.json"
# Where data come from and go to, and how much of them may be unusable.
OF_THE_DATA = {
    *("config", "data_dir", "manifest", "output_dir", "stats_file"),
    *("max_skipped", "judge_skipped"),
}
CONFIGS = {"psslm_train_config", "asr_train_config"}
FILES = CONFIGS | {
    *("psslm_model_file", "asr_model_file", "sensevoice"),
    *("label_manifest", "ngram_file", "hot_words"),
}
# What a training's configuration names files in that a trained model still needs.
NAMED = {
    *("bpemodel", "prompt_file", "llm_conf", "acoustic_conf"),
    *("encoder_conf", "frontend_conf", "simulator_conf"),
}


def made_with(args: argparse.Namespace) -> str:
    """Hash the options of a command, and the contents of the model that they name.

    Args:
        args: of ``psslm_inference``, ``asr_inference`` or ``dump_steps``.
    """
    values = {name: value for name, value in vars(args).items() if name not in OF_THE_DATA}
    files = {name: values.pop(name) for name in FILES & values.keys()}
    for name in CONFIGS & files.keys():
        files[f"of {name}"] = _named_in(files[name])
    return fingerprint(values, files)


def _named_in(path: str | Path | None) -> dict[str, Any]:
    """Values of a training's configuration that name files, and of the acoustic model's there."""
    if path is None or not Path(path).is_file():  # the command says so itself
        return {}
    config = read_yaml(path)
    if not isinstance(config, dict):
        return {}
    named = {name: config[name] for name in NAMED & config.keys()}
    acoustic = named.get("acoustic_conf") or {}
    return named | {"acoustic": _named_in(acoustic.get("train_config"))}


def write_made_with(folder: Path, value: str) -> None:
    """Write ``made_with.json``, behind all else that a command writes.

    Args:
        folder: of the results.
        value: of :func:`made_with`.
    """
    atomic_text(folder / MADE_WITH, json.dumps({"model_and_options": value}) + "\n")
