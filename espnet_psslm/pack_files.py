"""A packed model: where its files are, wherever it came from and wherever it was moved to.

    README.md meta.yaml outside.yaml psslm/{config.yaml,model.pth} ctc/ units/ prompts/ results/

Configurations name files by where they were when the archive was unpacked. In a folder that was
moved since, or unpacked by other means, they are found by folder and name beside the configuration.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

# Configuration keys whose value, if it is a string, names a file; the folder of the archive.
FILE_KEYS = {
    "bpemodel": "units",
    "token_list": "units",
    "non_linguistic_symbols": "units",
    "prompt_file": "prompts",
    "stats_file": "stats",
    "simulation_file": "stats",
    "train_config": "ctc",
    "model_file": "ctc",
}


def open_pack(
    model: str | Path,
    *,
    cachedir: str | Path | None = None,
    needed: str = "psslm_train_config",
) -> dict[str, str]:
    """Find the files of a packed model; an archive is unpacked once.

    Args:
        model: archive of ``bin/pack``, folder of one that is unpacked, or what ESPnet's model zoo
            knows: a hub name ``user/model``, or a URL.
        cachedir: where archives are unpacked; None: ``~/.cache/espnet_model_zoo``.
        needed: what it must hold; ``asr_train_config``, where a CTC model will do.

    Returns:
        ``psslm_train_config`` and ``psslm_model_file``; and ``asr_train_config`` and
        ``asr_model_file``, where the acoustic model was trained too; ``outside``, where what the
        model does not know is calibrated.

    Raises:
        ValueError: if it is no packed model of this kind.
    """
    path = Path(model)
    if path.is_dir():
        files = _unpacked(path)
    elif path.is_file():
        files = _unpack(path, cachedir)
    elif path.suffix == ".zip" and "://" not in str(model):
        raise ValueError(f"packed model {model}: no such file")
    else:
        files = _fetch(str(model), cachedir)
    if needed not in files:
        raise ValueError(
            f"packed model {model}: holds {sorted(files)} and no {needed}; give one that stage 14 "
            "(bin/pack) has made"
        )
    return files


def _fetch(name: str, cachedir: str | Path | None) -> dict[str, str]:
    """What stage 15 uploaded, or lies behind a URL."""
    from espnet_model_zoo.downloader import ModelDownloader

    try:
        return ModelDownloader(cachedir).download_and_unpack(name)
    # A hub's errors are OSErrors; the model zoo raises the others for a name or pack of its own.
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        raise ValueError(
            f"packed model {name}: is no file or folder here, and cannot be fetched "
            f"({type(error).__name__}: {reason}); give a path, or the hub name (user/model) that "
            "stage 15 uploaded to"
        ) from error


def _unpack(archive: Path, cachedir: str | Path | None) -> dict[str, str]:
    """Unpack what lies there now; the model zoo would keep what it once unpacked from the path."""
    from espnet2.main_funcs.pack_funcs import unpack

    archive = archive.resolve()
    stat = archive.stat()
    content = f"{archive} {stat.st_mtime_ns} {stat.st_size}"
    root = Path(cachedir or Path.home() / ".cache" / "espnet_model_zoo")
    folder = root / hashlib.sha256(content.encode()).hexdigest()[:32]
    try:
        return unpack(archive, folder, use_cache=False)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"packed model {archive}: {error}; stage 14 (bin/pack) makes one"
        ) from error


def _unpacked(folder: Path) -> dict[str, str]:
    """Files of an archive that somebody has unpacked: their names count from its folder."""
    meta = folder / "meta.yaml"
    if not meta.is_file():
        raise ValueError(f"packed model {folder}: holds no meta.yaml; unpack the archive whole")
    content = yaml.safe_load(meta.read_text(encoding="utf-8"))
    named = content.get("files", {}) | content.get("yaml_files", {})
    return {key: str(folder.absolute() / name) for key, name in named.items()}


def relocate(value: Any, root: Path) -> Any:
    """Rename files of a configuration that are not where it says.

    They are in a moved pack, or named relative to the folder of the training, which is above its
    output.

    Args:
        value: the configuration, or a part of it.
        root: folder of the pack, or of the training's output folders.
    """
    if isinstance(value, list):
        return [relocate(item, root) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: relocate(item, root) for key, item in value.items()}
    for key, item in value.items():
        if key in FILE_KEYS and isinstance(item, str) and not Path(item).is_file():
            moved = root / Path(item).parent.name / Path(item).name
            found = [path for path in (moved, *(p / item for p in root.parents)) if path.is_file()]
            if found:
                changed[key] = str(found[0])
    return changed


@contextmanager
def relocated(path: str | Path) -> Iterator[Path]:
    """A configuration file to read in place of one of a moved pack; else that itself.

    Args:
        path: of the configuration.
    """
    config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    changed = relocate(config, Path(path).absolute().parent.parent)
    if changed == config:
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="psslm_config_") as folder:
        copy = Path(folder) / "config.yaml"
        copy.write_text(yaml.safe_dump(changed, allow_unicode=True), encoding="utf-8")
        yield copy
