"""What answers and dumped Steps depend on, but for the data: model and options, as one hash.

Written beside results as ``made_with.json``: ``join_jobs`` joins no results of different models.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from espnet_psslm.atomic import atomic_text
from espnet_psslm.common.fingerprint import fingerprint
from espnet_psslm.pack_files import read_relocated

MADE_WITH = "made_with.json"
# Where data come from and go to, and how much of them may be unusable; and files of options.
OF_THE_DATA = {
    *("config", "psslm_config", "data_dir", "manifest", "output_dir", "stats_file"),
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
    *("encoder_conf", "frontend_conf", "normalize_conf", "simulator_conf"),
}


def made_with(args: argparse.Namespace) -> str:
    """Hash the options of a command, and the contents of the model that they name.

    Args:
        args: of ``psslm_inference``, ``asr_inference`` or ``dump_steps``.
    """
    values = {name: value for name, value in vars(args).items() if name not in OF_THE_DATA}
    files = {name: values.pop(name) for name in FILES & values.keys()}
    for name in CONFIGS & files.keys():
        files[f"of {name}"] = named_in(files[name])
    return fingerprint(values, files)


def named_in(path: Any) -> dict[str, Any]:
    """Find what a configuration names files in, and what the configurations do that it names.

    Args:
        path: ``config.yaml`` of a training, or a command's options as YAML.

    Returns:
        Values as :func:`fingerprint` takes them; none of what is no configuration, which is judged
        by what reads it.
    """
    if not isinstance(path, str | Path) or not os.path.isfile(path):
        return {}
    try:
        config = read_relocated(path)
    except (OSError, ValueError):
        return {}
    named = {name: config[name] for name in (NAMED | FILES) & config.keys()}
    configs = {name: named[name] for name in CONFIGS & named.keys()}
    if isinstance(named.get("acoustic_conf"), dict):
        configs["acoustic"] = named["acoustic_conf"].get("train_config")
    return named | {f"of {name}": named_in(value) for name, value in configs.items()}


def write_made_with(folder: Path, value: str) -> None:
    """Write ``made_with.json``, behind all else that a command writes.

    Args:
        folder: of the results.
        value: of :func:`made_with`.
    """
    atomic_text(folder / MADE_WITH, json.dumps({"model_and_options": value}) + "\n")
