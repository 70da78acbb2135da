"""Packed models that are broken, hostile, or read by several at once."""

import multiprocessing
import os
import threading
import zipfile
from pathlib import Path

import pytest
import yaml

from espnet_psslm.pack_files import open_pack
from tests.whole_files import CONFIG, META, as_zip, pack_members


def make_pack(path: Path, *, meta: object = META, **more: str) -> Path:
    members = pack_members(meta if isinstance(meta, str) else yaml.safe_dump(meta))
    path.write_bytes(as_zip(members | {name: text.encode() for name, text in more.items()}))
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPNET_PSSLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/packs"


def test_unpacked_once_into_a_folder_named_by_its_content(tmp_path, cache):
    first = open_pack(make_pack(tmp_path / "a.zip"))
    inode = os.stat(first["psslm_model_file"]).st_ino
    (tmp_path / "b.zip").write_bytes((tmp_path / "a.zip").read_bytes())
    assert open_pack(tmp_path / "b.zip") == first
    assert os.stat(first["psslm_model_file"]).st_ino == inode
    [folder] = cache.iterdir()
    config = yaml.safe_load(Path(first["psslm_train_config"]).read_text())
    assert config == CONFIG | {"bpemodel": str(folder / "units/bpe.model")}
    open_pack(make_pack(tmp_path / "a.zip", **{"results/new.md": "new"}))
    assert len(list(cache.iterdir())) == 2 and Path(first["psslm_model_file"]).exists()


def _open_often(path: str, start: multiprocessing.Event, failed: multiprocessing.Queue) -> None:
    start.wait()
    try:
        for _ in range(20):
            config = Path(open_pack(path)["psslm_train_config"])
            assert yaml.safe_load(config.read_text())["bpemodel"].endswith("units/bpe.model")
    except BaseException as error:
        failed.put(repr(error))


def test_several_readers_at_once(tmp_path, cache):
    path = make_pack(tmp_path / "a.zip", **{f"results/{n}": "x" * 10_000 for n in range(50)})
    context = multiprocessing.get_context("fork")
    start, failed = context.Event(), context.Queue()
    readers = [
        context.Process(target=_open_often, args=(str(path), start, failed)) for _ in range(3)
    ]
    for reader in readers:
        reader.start()
    start.set()
    for reader in readers:
        reader.join(30)
    assert failed.empty() and [reader.exitcode for reader in readers] == [0, 0, 0]
    assert len(list(cache.iterdir())) == 1  # and nothing half unpacked


def test_who_comes_second_takes_what_is_there(tmp_path, cache, monkeypatch):
    """Both saw no folder: the slower one's rename fails, and it reads the faster one's."""
    path = make_pack(tmp_path / "a.zip")
    real, barrier = os.rename, threading.Barrier(2)
    monkeypatch.setattr(os, "rename", lambda *names: (barrier.wait(5), real(*names))[1])
    found: list[dict[str, str]] = []
    threads = [threading.Thread(target=lambda: found.append(open_pack(path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and found[0] == found[1]
    assert len(list(cache.iterdir())) == 1


def test_a_full_disk_leaves_nothing_half(tmp_path, cache, monkeypatch):
    path = make_pack(tmp_path / "a.zip")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", full)
        with pytest.raises(OSError, match="No space left"):
            open_pack(path)
        assert list(cache.iterdir()) == []
    assert Path(open_pack(path)["psslm_model_file"]).read_text() == "weights"


def test_a_bomb_is_refused_before(tmp_path, cache):
    make_pack(tmp_path / "bomb.zip")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(200_000_000))
    with pytest.raises(ValueError, match="bomb.zip: would unpack to more than 0.1 GB"):
        open_pack(tmp_path / "bomb.zip")
    assert list(cache.iterdir()) == []
    assert open_pack(tmp_path / "bomb.zip", max_unpacked_gb=0.3)


@pytest.mark.parametrize(
    ("meta", "match"),
    [
        ("", "meta.yaml lacks 'files'"),
        ("- a\n- b\n", "meta.yaml lacks 'files'"),
        ("files:\n\tx: y\n", "meta.yaml:2: no YAML"),
        ({"files": {}}, "meta.yaml lacks 'yaml_files'"),
        (META | {"files": {"psslm_model_file": "/etc/passwd"}}, "'/etc/passwd', which is not in"),
        (META | {"files": {"psslm_model_file": "../x"}}, "'../x', which is not in the pack"),
        (META | {"files": {"psslm_model_file": "x.pth"}}, "'x.pth', and there is no such file"),
        (META | {"yaml_files": {}}, "and no psslm_train_config"),
    ],
)
def test_what_says_nothing_useful_is_named(tmp_path, cache, meta, match):
    path = make_pack(tmp_path / "a.zip", meta=meta)
    with pytest.raises(ValueError, match=match) as error:
        open_pack(path)
    assert str(error.value).startswith(f"packed model {path}: ")
    assert "\n" not in str(error.value)


def test_what_a_killed_process_left_goes_in_the_end(tmp_path, cache):
    for name, age_s in (("old", 100_000), ("young", 100)):
        (cache / f".x.{name}.tmp").mkdir(parents=True)
        past = os.stat(cache).st_mtime - age_s
        os.utime(cache / f".x.{name}.tmp", (past, past))
    open_pack(make_pack(tmp_path / "a.zip"))
    assert (cache / ".x.young.tmp").is_dir() and not (cache / ".x.old.tmp").exists()


def test_what_comes_from_an_address_has_limits_too(tmp_path, cache, monkeypatch):
    from espnet_model_zoo.downloader import ModelDownloader

    make_pack(tmp_path / "far.zip")
    with zipfile.ZipFile(tmp_path / "far.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(120_000_000))
    monkeypatch.setattr(ModelDownloader, "download", lambda *_: str(tmp_path / "far.zip"))
    address = "https://example.org/far.zip"
    with pytest.raises(ValueError, match=f"packed model {address}: would unpack to more than"):
        open_pack(address)
    assert open_pack(address, max_unpacked_gb=1.0).keys() >= {"psslm_model_file"}
