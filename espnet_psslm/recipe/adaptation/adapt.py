"""From a packed model and a text to a packed model that knows the text's domain."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from espnet_psslm.common.fingerprint import fingerprint
from espnet_psslm.common.lock import folder_lock
from espnet_psslm.common.yaml_file import dump_yaml
from espnet_psslm.data.manifest import Row, read_manifest
from espnet_psslm.data.release import read_recordings
from espnet_psslm.device import is_host, resolve_device
from espnet_psslm.inference.outside import Familiarity, pairs_of
from espnet_psslm.pack_files import open_pack
from espnet_psslm.recipe.adaptation import compare
from espnet_psslm.recipe.adaptation.domain import Domain, read_domain
from espnet_psslm.recipe.adaptation.measured import measure_errors
from espnet_psslm.recipe.adaptation.train import (
    mixed_rows,
    plan_batches,
    schedule,
    train_on,
    training_config,
)
from espnet_psslm.recipe.adaptation.workspace import Workspace
from espnet_psslm.recipe.packing import Bridge, pack_bridge
from espnet_psslm.recipe.replay import MAX_BYTES, is_held_out, sample_replay, size_of
from espnet_psslm.score.tasks import TaskMetrics
from espnet_psslm.text.prompt import read_prompt_file
from espnet_psslm.text.units import Units
from espnet_psslm.text.vocabulary import units_of
from espnet_psslm.trained import read_config

REPLAY_HELD_OUT = 0.1  # share of the replayed rows that are not trained on
MAX_COMPARED = 100  # rows of a task in the table, of each kind


@dataclass(frozen=True)
class Options:
    """What a user asks for.

    Args:
        text: of the domain, see :mod:`~espnet_psslm.recipe.adaptation.domain`.
        output: archive to write.
        prompts: prompt file of tasks that the model does not have.
        audio: recordings with their texts, on which the models are compared; never trained on.
        measure: recordings with their texts, whose errors are simulated in place of those that
            the pack's acoustic model was measured to make.
        tuning: ``lora`` or ``prefix`` for a model whose language model was frozen.
        replay: whether old tasks are trained again beside the new rows.
        minutes: for training.
        device: ``auto``, ``cpu``, ``cuda[:n]`` or ``npu[:n]``.
        language: of the speech.
        seed: of training.
    """

    text: Path
    output: Path
    prompts: Path | None
    audio: Path | None
    measure: Path | None
    tuning: str | None
    replay: bool
    minutes: float
    device: str
    language: str
    seed: int


@dataclass(frozen=True)
class Packed:
    """The files and the configuration of the old model."""

    files: dict[str, str]
    config: dict[str, Any]

    @cached_property
    def replay(self) -> list[Row]:
        """Rows of its training that it carries."""
        path = self.files.get("replay")
        return [] if path is None else list(read_manifest(path).values())

    @cached_property
    def prompts(self) -> list[Row]:
        """Lines of its prompt file."""
        return read_prompt_file(self.config["prompt_file"])


def adapt(model: str, options: Options) -> list[compare.Change]:
    """Train a packed model on, compare it with the old one, pack it.

    Args:
        model: archive, folder or hub name of the old model, which is never touched.
        options: what is asked for.

    Returns:
        Answers to held-out rows, before and after.

    Raises:
        ValueError: for input that cannot be used: file, line, fix.
    """
    if options.output.suffix != ".zip":
        raise ValueError(f"--output {options.output}: give an archive, e.g. new.zip")
    if Path(model).exists() and options.output.absolute() == Path(model).absolute():
        raise ValueError("--output is the old model, which is never touched: choose another name")
    files = open_pack(model)
    packed = Packed(files, read_config(files["psslm_train_config"]))
    prompts = packed.prompts + _new_prompts(packed, options)
    units = units_of(argparse.Namespace(**packed.config))
    tasks = list(dict.fromkeys(prompt["task"] for prompt in prompts))
    domain = read_domain(options.text, units=units, tasks=tasks, language=options.language)
    read = {name: getattr(options, name) for name in ("text", "prompts", "measure")}
    read |= {name: files[name] for name in ("psslm_train_config", "psslm_model_file")}
    what = ("tuning", "replay", "minutes", "language", "seed")
    made_of = fingerprint({name: getattr(options, name) for name in what}, read)
    with folder_lock(Workspace.folder_of(options.output)):
        workspace = Workspace(options.output, made_of)
        replayed, kept_out = _split_replay(packed, options)
        trained, new_config = _train(
            workspace, packed, domain, options, units, prompts, replayed, kept_out
        )
        found = _compare(packed, domain, options, prompts, kept_out, trained, new_config)
        _pack(workspace, packed, domain, options, trained, new_config, found)
        workspace.remove()
    return found


def _new_prompts(packed: Packed, options: Options) -> list[Row]:
    if options.prompts is None:
        return []
    new = read_prompt_file(options.prompts)
    known = {prompt["task"] for prompt in packed.prompts}
    if twice := sorted({prompt["task"] for prompt in new} & known):
        raise ValueError(
            f"{options.prompts}: the model has a prompt for {', '.join(twice)}, which its answers "
            "depend on; leave these lines out, or name the new task otherwise"
        )
    return new


def _split_replay(packed: Packed, options: Options) -> tuple[list[Row], list[Row]]:
    """Rows to train again, and rows to compare with."""
    rows = packed.replay
    if not rows:
        logging.warning(
            "the model carries no sentences of its training (pack --replay): what it knows may be "
            "forgotten, and the table cannot show it"
        )
        return [], []
    kept_out = [row for row in rows if is_held_out(row)]
    trained = [row for row in rows if not is_held_out(row)]
    if not kept_out:
        logging.warning(
            "the old model was trained on all sentences that it carries: it answers 'old text' of "
            "the table better than it would other sentences (pack --replay_held_out)"
        )
        held = set(sorted({row["GT"] for row in rows})[:: round(1 / REPLAY_HELD_OUT)])
        kept_out = [row for row in rows if row["GT"] in held]
        trained = [row for row in rows if row["GT"] not in held]
    return trained if options.replay else [], kept_out


def _with_labels(prompts: Sequence[Row], domain: Domain) -> list[Row]:
    """Prompts whose labels, where they list any, have those of the domain too."""
    extended = []
    for prompt in prompts:
        labels = prompt.get("labels")
        more = sorted(domain.labels(prompt["task"]) - set(labels)) if labels else []
        if more:
            logging.info("%s: new labels: %s", prompt["task"], ", ".join(more))
        extended.append(prompt | {"labels": [*labels, *more]} if more else prompt)
    return extended


def _train(
    workspace: Workspace,
    packed: Packed,
    domain: Domain,
    options: Options,
    units: Units,
    prompts: list[Row],
    replayed: list[Row],
    kept_out: list[Row],
) -> tuple[Path, Path]:
    """The trained parameters and their configuration."""
    prompt_file = workspace.write_rows("prompts.jsonl", _with_labels(prompts, domain))
    config = training_config(packed.config, prompt_file=prompt_file, tuning=options.tuning)
    config["seed"] = options.seed
    device = resolve_device(options.device)
    config["ngpu"] = int(not is_host(device))
    rows = mixed_rows(domain.train, replayed)
    train = workspace.write_rows("train.jsonl", rows)
    valid = workspace.write_rows(
        "valid.jsonl", mixed_rows(domain.held_out, _few(kept_out) if replayed else [])
    )
    config_file = workspace.folder / "config.yaml"
    if not config_file.exists():  # a run that goes on keeps the schedule that it began with
        if options.measure is not None:
            recordings = read_recordings(options.measure, language=options.language)
            errors = measure_errors(packed.config, recordings, units=units, device=device)
            scale = {k: v for k, v in config["simulator_conf"].items() if k == "error_scale"}
            config |= {"simulator": "measured", "simulator_conf": scale | {"measured": errors}}
        written = workspace.write("plan.yaml", dump_yaml(config))
        batches = plan_batches(written, rows, num_new=len(domain.train), minutes=options.minutes)
        workspace.write("config.yaml", dump_yaml(config | schedule(batches)))
    trained = train_on(
        config_file,
        model_file=Path(packed.files["psslm_model_file"]),
        train=train,
        valid=valid,
        output=workspace.folder / "exp",
    )
    return trained, workspace.folder / "exp/config.yaml"


def _few(rows: Sequence[Row]) -> list[Row]:
    """At most so many of each task as the table compares."""
    few: dict[str, list[Row]] = {}
    for row in rows:
        few.setdefault(row["task"], []).append(row)
    return [row for of_task in few.values() for row in of_task[:MAX_COMPARED]]


def _compare(
    packed: Packed,
    domain: Domain,
    options: Options,
    prompts: list[Row],
    kept_out: list[Row],
    trained: Path,
    config_file: Path,
) -> list[compare.Change]:
    parts = [
        compare.Rows("new text, held out", _few(domain.held_out), compare.SIMULATED),
        compare.Rows("old text", _few(kept_out), compare.SIMULATED),
    ]
    if options.audio is not None:
        utterances = read_recordings(options.audio, language=options.language)
        rows = [row for utterance in utterances for row in utterance.rows()]
        parts.append(compare.Rows("recordings", rows, compare.HEARD))
    common = {"device": options.device, "tasks": TaskMetrics(options.language, prompts)}
    before = compare.answer(
        parts,
        config_file=Path(packed.files["psslm_train_config"]),
        model_file=Path(packed.files["psslm_model_file"]),
        name="old",
        **common,
    )
    after = compare.answer(parts, config_file=config_file, model_file=trained, name="new", **common)
    return compare.changes(before, after)


def _pack(
    workspace: Workspace,
    packed: Packed,
    domain: Domain,
    options: Options,
    trained: Path,
    config_file: Path,
    found: Sequence[compare.Change],
) -> None:
    held_out = [row | {"held_out": True} for row in domain.held_out]
    new = [*domain.train, *held_out]
    # Half of what is carried is new, as in training: the next adaptation forgets neither.
    carried = sample_replay(new, max_bytes=MAX_BYTES // 2)
    if packed.replay:
        carried += sample_replay(packed.replay, max_bytes=MAX_BYTES - size_of(carried))
    numbered = [row | {"key": f"replay{i:06d}"} for i, row in enumerate(carried)]
    results = f"# {options.output.stem}: adapted from text\n\n{compare.render(found)}\n"
    bridge = Bridge(
        config_file,
        trained,
        title=f"{options.output.stem}: adapted from text",
        outside=_outside(workspace, packed, new),
        replay=numbered,
        option=[workspace.write("ADAPTED.md", results)],
    )
    pack_bridge(bridge, options.output)


def _outside(workspace: Workspace, packed: Packed, new: Sequence[Row]) -> Path | None:
    """What is outside of the old model, but for the word pairs of the new text."""
    path = packed.files.get("outside")
    if path is None:
        return None
    old = Familiarity.read(path)
    known = old.pairs | pairs_of(row["GT"] for row in new)
    target = workspace.folder / "outside.yaml"
    replace(old, pairs=known).write(target)
    return target
