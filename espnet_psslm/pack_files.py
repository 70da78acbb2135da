"""A packed model: where its files are, wherever it came from and wherever it was moved to.

    README.md meta.yaml outside.yaml psslm/{config.yaml,model.pth} ctc/ units/ prompts/ results/

Configurations name files by where they were when the archive was unpacked. In a folder that was
moved since, or unpacked by other means, they are found by folder and name beside the configuration.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from espnet_psslm.common.archive import Limits, Refused, unpack_archive
from espnet_psslm.common.cache import cache_folder
from espnet_psslm.common.replaced import replaced
from espnet_psslm.common.yaml_file import dump_yaml, read_mapping, read_yaml

HUB = "https://huggingface.co/"  # whose models come as folders
ABANDONED_S = 24 * 3600

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
    max_unpacked_gb: float | None = None,
) -> dict[str, str]:
    """Find the files of a packed model; an archive is unpacked once.

    Args:
        model: archive of ``bin/pack``, folder of one that is unpacked, or what ESPnet's model zoo
            knows: a hub name ``user/model``, or a URL.
        cachedir: where archives are unpacked; None: ``packs`` in our cache folder.
        needed: what it must hold; ``asr_train_config``, where a CTC model will do.
        max_unpacked_gb: what an archive may unpack to, or a hub's folder hold; None: see
            ``Limits``.

    Returns:
        ``psslm_train_config`` and ``psslm_model_file``; and ``asr_train_config`` and
        ``asr_model_file``, where the acoustic model was trained too; ``outside``, where what the
        model does not know is calibrated.

    Raises:
        ValueError: if it is no packed model of this kind.
    """
    try:
        files = _find(Path(model), str(model), cachedir, Limits.up_to(max_unpacked_gb))
        if needed not in files:
            raise ValueError(
                f"holds {sorted(files)} and no {needed}; give one that stage 14 (bin/pack) has made"
            )
    except ValueError as error:
        raise ValueError(f"packed model {model}: {error}") from error
    return files


def _find(path: Path, name: str, cachedir: str | Path | None, limits: Limits) -> dict[str, str]:
    if path.is_dir():
        return _unpacked(path)
    root = cache_folder() / "packs" if cachedir is None else Path(cachedir)
    if path.is_file():
        return _unpack(path, root, limits)
    if path.exists():
        raise ValueError("is a pipe or a device; write what comes from it to a file first")
    if path.suffix == ".zip" and "://" not in name:
        raise ValueError("no such file")
    return _fetch(name, root, limits)


def _fetch(name: str, root: Path, limits: Limits) -> dict[str, str]:
    """What stage 15 uploaded, or lies behind a URL."""
    from espnet_model_zoo.downloader import ModelDownloader, is_url

    try:
        zoo = ModelDownloader(root)
        url = zoo.get_url(name)  # its table knows archives, too
        if not is_url(url) or url.startswith(HUB):
            with _limited_snapshots(limits):
                return zoo.download_and_unpack(name)
        archive = Path(zoo.download(name))
    except Refused:
        raise
    # A hub's errors are OSErrors; the model zoo raises the others for a name or pack of its own.
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        raise ValueError(
            "is no file or folder here, and cannot be fetched "
            f"({type(error).__name__}: {reason}); give a path, or the hub name (user/model) that "
            "stage 15 uploaded to"
        ) from error
    return _unpack(archive, root, limits)


@contextmanager
def _limited_snapshots(limits: Limits) -> Iterator[None]:
    """Within it the model zoo fetches no folder that is too large."""
    from espnet_model_zoo import downloader
    from huggingface_hub.errors import DryRunError

    snapshot = downloader.snapshot_download

    def fetch(repo_id: str, **options: Any) -> str:
        try:
            files = snapshot(repo_id, **options, dry_run=True)
        except DryRunError:  # what cannot be listed cannot be fetched: it is here, or nowhere
            return snapshot(repo_id, **options)
        limits.check_folder([file.file_size or 0 for file in files])
        if files:  # what was looked at, not what has taken its place since
            options["revision"] = files[0].commit_hash
        return snapshot(repo_id, **options)

    with replaced(downloader, "snapshot_download", fetch):
        yield


def _unpack(archive: Path, root: Path, limits: Limits) -> dict[str, str]:
    """Unpack an archive into a folder named by its content, unless that is there.

    It is unpacked beside that folder, which is named when all is in it: who reads it meanwhile, or
    unpacks the same, is never disturbed.
    """
    with open(archive, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:32]
    folder = root / digest
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(root)
        unfinished = root / f".{digest}.{uuid4().hex}.tmp"
        unfinished.mkdir()
        try:
            names = unpack_archive(archive, unfinished, limits=limits)
            _name_files(unfinished, set(names), folder)
            os.rename(unfinished, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return _unpacked(folder)


def _remove_abandoned(root: Path) -> None:
    """Remove what processes left that were killed while they unpacked."""
    for old in root.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(old, ignore_errors=True)


def _name_files(unpacked: Path, members: set[str], folder: Path) -> None:
    """In configurations, name members of the archive by where they will be."""

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: named(item) for key, item in value.items()}
        if isinstance(value, list):
            return [named(item) for item in value]
        if isinstance(value, str) and os.path.normpath(value) in members:
            return str(folder / os.path.normpath(value))
        return value

    for name in _read_meta(unpacked)["yaml_files"].values():
        path = unpacked / name
        config = named(read_yaml(path, name=name))
        path.write_text(dump_yaml(config), encoding="utf-8")


def _read_meta(folder: Path) -> dict[str, dict[str, str]]:
    """What ``meta.yaml`` says: ``files`` and ``yaml_files``, name -> path inside the folder.

    Raises:
        ValueError: if it is missing or says something else, or a file is missing.
    """
    if not (folder / "meta.yaml").is_file():
        raise ValueError("holds no meta.yaml; give the whole of what stage 14 (bin/pack) has made")
    meta = read_yaml(folder / "meta.yaml", name="meta.yaml")
    kinds = ("files", "yaml_files")
    for kind in kinds:
        named = meta.get(kind) if isinstance(meta, dict) else None
        if not isinstance(named, dict) or not all(isinstance(n, str) for n in named.values()):
            raise ValueError(f"meta.yaml lacks '{kind}', names and their files; pack it again")
        for name in named.values():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"meta.yaml names {name!r}, which is not in the pack")
            if not (folder / name).is_file():
                raise ValueError(
                    f"meta.yaml names {name!r}, and there is no such file in {folder}; pack it "
                    "again (in our cache folder: delete that folder)"
                )
    return {kind: meta[kind] for kind in kinds}


def _unpacked(folder: Path) -> dict[str, str]:
    """Files of an archive that is unpacked: their names count from its folder."""
    meta = _read_meta(folder)
    named = meta["files"] | meta["yaml_files"]
    return {key: str(folder.absolute() / name) for key, name in named.items()}


def relocate(value: Any, root: Path) -> Any:
    """Rename files of a configuration that are not where it says.

    They are in a moved pack, or named relative to the folder of the training, which is above its
    output folder.

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
            named = [folder / item for folder in (root, *root.parents)]
            found = [path for path in (moved, *named) if path.is_file()]
            if found:
                changed[key] = str(found[0])
    return changed


def read_relocated(path: str | Path) -> dict[str, Any]:
    """Read a configuration, with its files where they are now: see :func:`relocate`.

    Args:
        path: of the configuration, in the output folder of its training or the folder of a pack.

    Raises:
        ValueError: if it holds no names and values.
        OSError: if it cannot be read.
    """
    return relocate(read_mapping(path), Path(path).absolute().parent.parent)


@contextmanager
def relocated(path: str | Path) -> Iterator[Path]:
    """A configuration file to read in place of one of a moved pack; else that itself.

    Args:
        path: of the configuration.
    """
    config = read_mapping(path)
    changed = relocate(config, Path(path).absolute().parent.parent)
    if changed == config:
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="psslm_config_") as folder:
        copy = Path(folder) / "config.yaml"
        copy.write_text(dump_yaml(changed), encoding="utf-8")
        yield copy
