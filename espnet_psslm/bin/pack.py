"""Pack a trained bridge into one archive that ESPnet's model zoo unpacks.

    python -m espnet_psslm.bin.pack --psslm_train_config exp/psslm_sft/config.yaml \\
        --psslm_model_file exp/psslm_sft/valid.acc.ave.pth --outpath exp/psslm.zip

Packed: both configurations (bridge and the acoustic model it names), the trained parameters, every
file that they name under a key of ``FILE_KEYS``, the files of ``--outside`` and ``--option``, and a
README card. Base models (``package://...``, hub names, local folders) are not packed and keep their
names.

ESPnet's unpacking rewrites only configuration values that equal a member of the archive. So the
files are copied under fixed names first, and the configurations are changed to those names.
"""

import argparse
import contextlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from espnet_psslm.atomic import move_file, naming, remove_strays, unfinished_name
from espnet_psslm.bin.command import command
from espnet_psslm.pack_files import FILE_KEYS
from espnet_psslm.weights import PACKAGE_SCHEME

# Of FILE_KEYS, the value is itself a configuration whose files are packed too.
CONFIG_KEY = "train_config"
BASE_MODEL_KEYS = ("name", "whisper", "sensevoice")

CARD = """# {title}

A speech language model made with espnet_psslm: a Whisper-CTC acoustic model, a trained projector,
and a language model that writes the answer.

## Load

```python
from espnet_psslm.bin.psslm_inference import Speech2Text
speech2text = Speech2Text.from_pretrained("{archive}")  # this file, or its name on a hub
text, tokens, token_ids, hypothesis = speech2text(waveform, "{task}")[0]  # 16 kHz
```

```bash
espnet-psslm transcribe speech.wav --task {task} --model {archive}
```

Tasks: {tasks}. `espnet_model_zoo.downloader.ModelDownloader` unpacks the archive too: it finds
`psslm_train_config` and `psslm_model_file`, the options of `espnet_psslm.bin.psslm_inference`, and
of a trained CTC model `asr_train_config` and `asr_model_file`. ESPnet's own `Speech2Text` loads the
latter after `espnet_psslm.registry.register()`; give it `ctc_weight=1.0`: with its default, 0.5,
the output is garbage and there is no error.

{outside}
Base models may lie anywhere: in the folder that `$ESPNET_PSSLM_MODELS` names, under their whole
name or its last part.

## Base models, not in this archive

{base_models}

{notes}

{results}
"""

OUTSIDE_CARD = """\
If a recording is unlike the training data, `hypothesis.outside` is true, and the command gives no
answer.
"""


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
        with open(source, encoding="utf-8") as stream:
            config = yaml.safe_load(stream)
        if not isinstance(config, dict):
            raise ValueError(f"{source} is no configuration: it holds a {type(config).__name__}")
        member = self.add_file(source, member)
        packed = self._pack_values(config, source)
        with open(self.staging / member, "w", encoding="utf-8") as stream:
            yaml.safe_dump(packed, stream, sort_keys=False, allow_unicode=True)
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
    acoustic = config.get("acoustic_conf") or {}
    if acoustic.get("whisper") or acoustic.get("sensevoice"):
        return None
    if not (acoustic.get("train_config") and acoustic.get("model_file")):
        raise ValueError(
            f"{source}: acoustic_conf names no train_config and model_file (it is {acoustic}); "
            "a pack without acoustic model cannot answer from audio: train with both set"
        )
    return acoustic["train_config"], acoustic["model_file"]


def describe_base_models(names: Sequence[str]) -> str:
    """List the base models for the card.

    Args:
        names: as they stand in the configurations.

    Returns:
        Markdown list.
    """
    lines = []
    for name in names:
        if name.startswith(PACKAGE_SCHEME):
            where = "from a Python package, which must be installed"
        elif Path(name).exists():
            where = "**local on the machine that trained**: at this place, or as said above"
        else:
            where = "hub name"
        lines.append(f"- `{name}`: {where}")
    return "\n".join(lines) or "none"


def pack_bridge(args: argparse.Namespace, staging: Path) -> Path:
    """Gather everything in ``staging`` and write the archive beside it.

    Args:
        args: of the command line.
        staging: empty folder, in another one where the archive goes.

    Returns:
        The archive.

    Raises:
        ValueError: naming what is missing.
    """
    # Not at the top: importing it takes seconds, and --help needs none of it.
    from espnet2.main_funcs.pack_funcs import pack

    if args.outside is not None:
        from espnet_psslm.inference.outside import Familiarity

        Familiarity.read(args.outside)  # raises where it is none
    for name in (args.psslm_train_config, args.psslm_model_file, *args.option):
        if not Path(name).is_file():
            raise ValueError(f"no such file: {name}")
    contents = Contents(staging)
    config_member = contents.add_config(Path(args.psslm_train_config), "psslm/config.yaml")
    model_member = contents.add_file(Path(args.psslm_model_file), "psslm/model.pth")
    packed_config = yaml.safe_load((staging / config_member).read_text(encoding="utf-8"))
    ctc = find_acoustic(packed_config, args.psslm_train_config)
    models = {"psslm_model_file": model_member}
    configs = {"psslm_train_config": config_member}
    if ctc is not None:
        configs["asr_train_config"], models["asr_model_file"] = ctc
    if args.outside is not None:
        models["outside"] = contents.add_file(Path(args.outside), "outside.yaml")
    option = [contents.add_file(Path(name), f"results/{Path(name).name}") for name in args.option]
    write_card(args, contents, staging / packed_config["prompt_file"])

    named = {*configs.values(), *models.values(), *option}
    others = [member for member in contents.members.values() if member not in named]
    archive = staging.parent / Path(args.outpath).name  # the suffix says of what kind
    # ESPnet names members relative to the current folder.
    with contextlib.chdir(staging):
        pack(
            files=models,
            yaml_files=configs,
            outpath=archive,
            option=["README.md", *others, *option],
        )
    return archive


def write_card(args: argparse.Namespace, contents: Contents, prompt_file: Path) -> None:
    """Write ``README.md`` beside the files to pack.

    Args:
        args: of the command line.
        contents: what is packed.
        prompt_file: of the model.
    """
    notes = Path(args.notes).read_text(encoding="utf-8") if args.notes else ""
    tables = [Path(name) for name in args.option if name.endswith(".md")]
    lines = prompt_file.read_text(encoding="utf-8").splitlines()
    tasks = list(dict.fromkeys(json.loads(line)["task"] for line in lines if line.strip()))
    card = CARD.format(
        title=args.title,
        task=tasks[0],
        tasks=", ".join(tasks),
        archive=Path(args.outpath).name,
        outside="" if args.outside is None else OUTSIDE_CARD,
        base_models=describe_base_models(list(contents.base_models)),
        notes=notes.strip(),
        results="\n\n".join(path.read_text(encoding="utf-8").strip() for path in tables),
    )
    (contents.staging / "README.md").write_text(card.rstrip() + "\n", encoding="utf-8")


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--psslm_train_config", required=True, help="config.yaml of the bridge")
    parser.add_argument("--psslm_model_file", required=True, help="its trained parameters")
    parser.add_argument("--outpath", required=True, help="archive to write, .zip")
    parser.add_argument("--title", default="Speech language model", help="heading of the card")
    parser.add_argument("--notes", help="Markdown for the card: licences, data")
    parser.add_argument(
        "--outside", help="file of calibrate: the model says what is outside of what it knows"
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        help="further file, e.g. results; .md goes on the card",
    )
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Pack.

    Args:
        cmd: arguments; None reads the command line.
    """
    with command(get_parser(), cmd) as args:
        outpath = Path(args.outpath).absolute()
        outpath.parent.mkdir(parents=True, exist_ok=True)
        remove_strays(outpath.parent)
        # Beside its place: there is room for it, or there is none for the archive.
        unfinished = unfinished_name(outpath)
        try:
            (unfinished / "files").mkdir(parents=True)
            with naming(outpath):
                archive = pack_bridge(args, (unfinished / "files").resolve())
                move_file(archive, outpath)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    logging.info("wrote %s (%.1f MB)", args.outpath, Path(args.outpath).stat().st_size / 1e6)


if __name__ == "__main__":
    main()
