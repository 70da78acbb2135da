"""Train a packed model on: its own configuration, new rows, as many batches as fit the time."""

import argparse
import logging
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml

from espnet_psslm.data.manifest import Row
from espnet_psslm.device import training_device
from espnet_psslm.samples.lengths import write_lengths
from espnet_psslm.tasks.psslm import PSSLMTask

SETTINGS = Path(__file__).with_name("train.yaml")
# Of a trained model's configuration, what the model is; of its training, how its parts are updated.
MODEL_KEYS = (
    *("token_type", "token_list", "bpemodel", "phone_language", "prompt_conf", "llm_conf"),
    *("acoustic_conf", "step_kind", "feature_width", "projector", "projector_conf", "simulator"),
    *("simulator_conf", "reduction", "reduction_conf", "tuning", "tuning_conf", "model_conf"),
    *("optim", "optim_conf", "lr_scale"),
)
LORA = {"r": 16, "alpha": 32, "dropout": 0.0}  # where a model gets its first adapters
EPOCHS = 6  # a stopped training goes on from the last one
WARMUP_SHARE, FINAL_RATE = 0.1, 0.02
MAX_PASSES = 40  # through the new rows; by then simulated text is known by heart
TIMED_BATCHES = 6  # the first of which is not counted


def training_config(
    packed: Mapping[str, Any], *, prompt_file: Path, tuning: str | None
) -> dict[str, Any]:
    """Configuration of the further training.

    Args:
        packed: configuration of the packed model.
        prompt_file: its prompts, and those of new tasks.
        tuning: ``lora`` or ``prefix`` for a model whose language model has been frozen so far;
            None: as it was.

    Raises:
        ValueError: if the model is tuned in another way already.
    """
    config = {key: packed[key] for key in MODEL_KEYS if key in packed}
    config |= yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    config["prompt_file"] = str(prompt_file)
    if config.get("step_kind") == "feature":
        raise ValueError("a model that hears encoder outputs (step_kind: feature) needs audio")
    own = packed.get("tuning", "frozen")
    if tuning is not None and tuning != own:
        if own != "frozen":
            raise ValueError(
                f"--tuning {tuning}: the model has tuning: {own} already, which would be lost; "
                "leave the option out"
            )
        config["tuning"], config["tuning_conf"] = tuning, LORA if tuning == "lora" else {}
    return config


def mixed_rows(new: Sequence[Row], replayed: Sequence[Row]) -> list[Row]:
    """New and replayed rows in equal numbers; the fewer ones come several times.

    Args:
        new: of the domain.
        replayed: of what the model knows; there may be none.
    """
    if not replayed:
        return list(new)
    longer = max(len(new), len(replayed))
    return [
        row | {"key": f"{row['key']}-{turn}"}
        for rows in (new, replayed)
        for turn in range(-(-longer // len(rows)))
        for row in rows[: longer - turn * len(rows)]
    ]


def plan_batches(config_file: Path, rows: Sequence[Row], *, num_new: int, minutes: float) -> int:
    """How many batches fit the time; few new rows need fewer.

    Args:
        config_file: of the training.
        rows: what is trained on, mixed.
        num_new: how many different ones are new.
        minutes: for training.
    """
    args = PSSLMTask.get_parser().parse_args(["--config", str(config_file)])
    share = 0.5 if len(rows) > num_new else 1.0
    enough = MAX_PASSES * num_new / (args.batch_size * share)
    seconds = _seconds_per_batch(args, rows)
    batches = int(min(enough, 60 * minutes / seconds))
    logging.info(
        "a batch of %d takes %.2f s: %d batches, %.1f minutes",
        *(args.batch_size, seconds, max(batches, EPOCHS), batches * seconds / 60),
    )
    return max(batches, EPOCHS)


def _seconds_per_batch(args: argparse.Namespace, rows: Sequence[Row]) -> float:
    """Median of a few updates that are thrown away."""
    device = training_device(args.ngpu)
    model = PSSLMTask.build_model(args).to(device).train()
    preprocess = PSSLMTask.build_preprocess_fn(args, True)
    collate = PSSLMTask.build_collate_fn(args, True)
    rng = random.Random(0)
    seconds = []
    for _ in range(TIMED_BATCHES):
        began = time.perf_counter()
        task = rng.choice(rows)["task"]  # a batch is of one, as in training
        part = rng.choices([row for row in rows if row["task"] == task], k=args.batch_size)
        if preprocess.writes_ahead:
            preprocess.write_ahead(part)
        keys, batch = collate(
            [(row["key"], preprocess(row["key"], {"sample": row})) for row in part]
        )
        batch = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        loss, *_ = model(utt_id=keys, **batch)
        loss.backward()
        loss.item()  # what a GPU is still doing counts
        seconds.append(time.perf_counter() - began)
    return median(seconds[1:])


def schedule(num_batches: int) -> dict[str, Any]:
    """Configuration keys that say how long is trained."""
    per_epoch = -(-num_batches // EPOCHS)
    steps = per_epoch * EPOCHS
    return {
        "max_epoch": EPOCHS,
        "num_iters_per_epoch": per_epoch,
        "scheduler_conf": {
            "max_steps": steps,
            "warmup_steps": round(WARMUP_SHARE * steps),
            "final_lr_scale": FINAL_RATE,
        },
    }


def train_on(
    config_file: Path, *, model_file: Path, train: Path, valid: Path, output: Path
) -> Path:
    """Train on; what was stopped goes on.

    Args:
        config_file: of the training, with its schedule.
        model_file: parameters to start from; what is new in the model starts as always.
        train: manifest.
        valid: manifest that chooses the checkpoint.
        output: experiment folder.

    Returns:
        The trained parameters.
    """
    options = ["--config", str(config_file), "--output_dir", str(output), "--resume", "true"]
    for name, path in {"train": train, "valid": valid}.items():
        options += [f"--{name}_data_path_and_name_and_type", f"{path},sample,psslm_jsonl"]
        options += [f"--{name}_shape_file", str(write_lengths(path, path.with_suffix(".length")))]
    PSSLMTask.main(cmd=[*options, "--init_param", str(model_file)])
    return output / "valid.acc.ave.pth"
