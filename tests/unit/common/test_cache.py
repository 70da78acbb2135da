"""One cache folder, whatever a machine lacks."""

import os
import pwd
import stat

import pytest

from espnet_psslm.common.cache import VARIABLE, cache_folder


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """No variable says where it is; temporary files are ours."""
    for name in (VARIABLE, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()


def no_account(_uid):
    raise KeyError("uid not found")


def test_the_first_variable_that_is_set(monkeypatch, tmp_path):
    for name, folder in (
        ("HOME", tmp_path / "home"),
        ("XDG_CACHE_HOME", tmp_path / "xdg"),
        (VARIABLE, tmp_path / "ours"),
    ):
        monkeypatch.setenv(name, str(folder))
        inside = {"HOME": ".cache/espnet_psslm", "XDG_CACHE_HOME": "espnet_psslm"}.get(name, "")
        assert cache_folder() == folder / inside
        assert (folder / inside).is_dir()


@pytest.mark.parametrize("home", [None, "/"])
def test_without_home_and_account(monkeypatch, tmp_path, home):
    monkeypatch.setattr(pwd, "getpwuid", no_account)
    if home:
        monkeypatch.setenv("HOME", home)
    folder = cache_folder()
    assert folder == tmp_path / "tmp" / f"espnet_psslm-{os.getuid()}"
    assert cache_folder() == folder and stat.S_ISDIR(folder.lstat().st_mode)


def test_a_folder_that_somebody_else_made_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(pwd, "getpwuid", no_account)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "tmp" / f"espnet_psslm-{os.getuid()}").symlink_to(tmp_path / "theirs")
    with pytest.raises(ValueError, match=f"belongs to somebody else; set .{VARIABLE}"):
        cache_folder()


def test_one_that_cannot_be_made_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file/cache"))
    with pytest.raises(ValueError, match=f"file/cache: cannot be made .*set .{VARIABLE}"):
        cache_folder()
