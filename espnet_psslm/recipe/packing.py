"""Packing: a trained bridge with all files that it names, in one archive.

Packed: both configurations (bridge and the acoustic model it names), the trained parameters, every
file that they name under a key of ``FILE_KEYS``, and a README card. Base models (``package://...``,
hub names, local folders) are not packed and keep their names.

ESPnet's unpacking rewrites only configuration values that equal a member of the archive. So the
files are copied under fixed names first, and the configurations are changed to those names.
"""

import contextlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_psslm.acoustic.choice import WHISPER_CTC, acoustic_choice
from espnet_psslm.atomic import move_file, naming, remove_strays, unfinished_name
from espnet_psslm.common.json_files import write_jsonl
from espnet_psslm.common.yaml_file import dump_yaml, read_mapping
from espnet_psslm.data.manifest import Row
from espnet_psslm.inference.outside import Familiarity
from espnet_psslm.pack_files import FILE_KEYS, read_relocated
from espnet_psslm.recipe.card import render_card
from espnet_psslm.weights import PACKAGE_SCHEME

# Of FILE_KEYS, the value is itself a configuration whose files are packed too.
CONFIG_KEY = "train_config"
BASE_MODEL_KEYS = ("name", "whisper", "sensevoice")


class Contents:
    """Files to pack, each under one name.

    Args:
        staging: empty folder that mirrors the archive.
    """

    def __init__(self, staging: Path) -> None:
        self.staging = staging
        self.members: dict[Path, str] = {}
        self.base_models: dict[str, None] = {}  # names, in order

    def add_file(self, source: Path, member: str) -> str:
        """Copy a file, unless it is there already.

        Args:
            source: file.
            member: wanted name in the archive; a number is added where another file has it.

        Returns:
            Name in the archive.
        """
        known = self.members.get(source.resolve())
        if known is not None:
            return known
        member = self._free_name(member)
        target = self.staging / member
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        self.members[source.resolve()] = member
        return member

    def add_config(self, source: Path, member: str) -> str:
        """Copy a configuration with the files that it names.

        Args:
            source: YAML file.
            member: wanted name in the archive.

        Returns:
            Name in the archive.

        Raises:
            ValueError: if a file that it names does not exist.
        """
        known = self.members.get(source.resolve())
        if known is not None:
            return known
        # In a pack that was moved, or unpacked by other means, files are beside the configuration.
        config = read_relocated(source)
        member = self.add_file(source, member)
        packed = self._pack_values(config, source)
        (self.staging / member).write_text(dump_yaml(packed), encoding="utf-8")
        return member

    def _free_name(self, member: str) -> str:
        path, number = Path(member), 1
        while str(path) in self.members.values():
            number += 1
            path = Path(member).with_stem(f"{Path(member).stem}_{number}")
        return str(path)

    def _pack_values(self, value: Any, config: Path) -> Any:
        if isinstance(value, list):
            return [self._pack_values(item, config) for item in value]
        if not isinstance(value, dict):
            return value
        packed = {}
        for key, item in value.items():
            if key in FILE_KEYS and isinstance(item, str) and item:
                packed[key] = self._pack_named_file(key, item, config)
            else:
                packed[key] = self._pack_values(item, config)
                if key in BASE_MODEL_KEYS and isinstance(item, str):
                    self.base_models[item] = None
        return packed

    def _pack_named_file(self, key: str, name: str, config: Path) -> str:
        if name.startswith(PACKAGE_SCHEME):
            return name
        source = Path(name)
        if not source.is_file():
            raise ValueError(
                f"{config}: '{key}' names the file '{name}', which is not there "
                f"(relative names count from {Path.cwd()}); run pack where training ran, "
                "or run the stage again that makes it"
            )
        member = f"{FILE_KEYS[key]}/{source.name}"
        return (self.add_config if key == CONFIG_KEY else self.add_file)(source, member)


def find_acoustic(config: dict[str, Any], source: str) -> tuple[str, str] | None:
    """Find the trained acoustic model that a packed bridge configuration names.

    Args:
        config: configuration of the bridge.
        source: its file, for the message.

    Returns:
        Its configuration and model file; None where the acoustic model is a base model.

    Raises:
        ValueError: if there is none: the pack could not answer from audio.
    """
    kind, acoustic = acoustic_choice(config)
    if acoustic and kind != WHISPER_CTC:
        return None
    if not (acoustic.get("train_config") and acoustic.get("model_file")):
        raise ValueError(
            f"{source}: acoustic_conf names no train_config and model_file (it is {acoustic}); "
            "a pack without acoustic model cannot answer from audio: train with both set"
        )
    return acoustic["train_config"], acoustic["model_file"]


@dataclass(frozen=True)
class Bridge:
    """A trained bridge, and what goes into the archive beside it.

    Args:
        train_config: ``config.yaml`` of its training.
        model_file: its trained parameters.
        title: heading of the card.
        notes: Markdown for the card: licences, data.
        outside: file of ``bin/calibrate``; None: the model does not say what is outside.
        replay: rows of :func:`~espnet_psslm.recipe.replay.sample_replay`.
        option: further files, e.g. results; ``.md`` goes on the card.
    """

    train_config: Path
    model_file: Path
    title: str = "Speech language model"
    notes: str = ""
    outside: Path | None = None
    replay: Sequence[Row] = ()
    option: Sequence[Path] = ()


def pack_bridge(bridge: Bridge, outpath: Path) -> None:
    """Write the archive, whole or not at all.

    Args:
        bridge: what is packed.
        outpath: archive to write, .zip.

    Raises:
        ValueError: naming what is missing.
    """
    if bridge.outside is not None:
        Familiarity.read(bridge.outside)  # raises where it is none
    for name in (bridge.train_config, bridge.model_file, *bridge.option):
        if not name.is_file():
            raise ValueError(f"no such file: {name}")
    outpath = outpath.absolute()
    outpath.parent.mkdir(parents=True, exist_ok=True)
    remove_strays(outpath.parent)
    # Beside its place: there is room for it, or there is none for the archive.
    unfinished = unfinished_name(outpath)
    try:
        staging = (unfinished / "files").resolve()
        staging.mkdir(parents=True)
        with naming(outpath):
            _pack(bridge, staging, unfinished / outpath.name)
            move_file(unfinished / outpath.name, outpath)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    logging.info("wrote %s (%.1f MB)", outpath, outpath.stat().st_size / 1e6)


def _pack(bridge: Bridge, staging: Path, outpath: Path) -> None:
    # Not at the top: importing it takes seconds, and --help needs none of it.
    from espnet2.main_funcs.pack_funcs import pack

    contents = Contents(staging)
    config_member = contents.add_config(bridge.train_config, "psslm/config.yaml")
    model_member = contents.add_file(bridge.model_file, "psslm/model.pth")
    packed_config = read_mapping(staging / config_member)
    ctc = find_acoustic(packed_config, str(bridge.train_config))
    models = {"psslm_model_file": model_member}
    configs = {"psslm_train_config": config_member}
    if ctc is not None:
        configs["asr_train_config"], models["asr_model_file"] = ctc
    if bridge.outside is not None:
        models["outside"] = contents.add_file(bridge.outside, "outside.yaml")
    if bridge.replay:
        models["replay"] = "replay.jsonl"
        write_jsonl(staging / models["replay"], bridge.replay)
    option = [contents.add_file(path, f"results/{path.name}") for path in bridge.option]
    card = render_card(
        title=bridge.title,
        archive=outpath.name,
        prompt_file=staging / packed_config["prompt_file"],
        base_models=list(contents.base_models),
        has_outside=bridge.outside is not None,
        replay=bridge.replay,
        notes=bridge.notes,
        tables=[path for path in bridge.option if path.suffix == ".md"],
    )
    (staging / "README.md").write_text(card, encoding="utf-8")

    named = {*configs.values(), *models.values(), *option}
    others = [member for member in contents.members.values() if member not in named]
    # ESPnet names members relative to the current folder.
    with contextlib.chdir(staging):
        pack(
            files=models,
            yaml_files=configs,
            outpath=outpath,
            option=["README.md", *others, *option],
        )
