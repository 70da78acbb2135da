"""Archives from anywhere: looked at before they are unpacked."""

import io
import tarfile
import zipfile

import pytest

from espnet_psslm.common.archive import Limits, unpack_archive


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def make_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path, members, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, "/etc/passwd"
            archive.addfile(info, io.BytesIO(content) if kind == tarfile.REGTYPE else None)
    return path


@pytest.mark.parametrize(("make", "name"), [(make_zip, "a.zip"), (make_tar, "a.tgz")])
def test_whole_archives_are_unpacked(tmp_path, folder, make, name):
    path = make(tmp_path / name, {"meta.yaml": b"x", "psslm/model.pth": b"weights"})
    assert unpack_archive(path, folder, limits=Limits()) == ["meta.yaml", "psslm/model.pth"]
    assert (folder / "psslm/model.pth").read_bytes() == b"weights"


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "..\\x"])
@pytest.mark.parametrize(("make", "file"), [(make_zip, "a.zip"), (make_tar, "a.tgz")])
def test_names_that_lead_out_are_refused(tmp_path, folder, make, file, name):
    path = make(tmp_path / file, {"good": b"x", name: b"x"})
    with pytest.raises(ValueError, match="^holds .* leads out of its folder"):
        unpack_archive(path, folder, limits=Limits())
    assert not list(folder.iterdir()) and not (tmp_path / "x").exists()


def test_links_are_refused(tmp_path, folder):
    path = make_tar(tmp_path / "a.tgz", {"model.pth": b""}, tarfile.SYMTYPE)
    with pytest.raises(ValueError, match="^holds a link"):
        unpack_archive(path, folder, limits=Limits())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("model.pth")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="^holds a link"):
        unpack_archive(tmp_path / "a.zip", folder, limits=Limits())


@pytest.mark.parametrize(("make", "file"), [(make_zip, "a.zip"), (make_tar, "a.tgz")])
def test_too_much_is_refused_before(tmp_path, folder, make, file):
    path = make(tmp_path / file, {f"part{n}": bytes(50_000_000) for n in range(3)})
    with pytest.raises(ValueError, match=r"^would unpack to more than 0.1 GB .*by other"):
        unpack_archive(path, folder, limits=Limits())
    with pytest.raises(ValueError, match="raise --max_unpacked_gb"):
        unpack_archive(path, folder, limits=Limits.up_to(0.14))
    with pytest.raises(ValueError, match="more than 2 files"):
        unpack_archive(path, folder, limits=Limits(ratio=1e9, files=2))
    assert not list(folder.iterdir())


def test_a_user_may_allow_more(tmp_path, folder):
    path = make_zip(tmp_path / "a.zip", {"zeros": bytes(120_000_000)})
    unpack_archive(path, folder, limits=Limits.up_to(0.13))
    assert (folder / "zeros").stat().st_size == 120_000_000


@pytest.mark.parametrize("name", ["a.zip", "a.tgz"])
@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty; fetch it again"),
        (b"<!DOCTYPE html>\n<html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer.*git lfs pull"),
        (b"PK\x03\x04 and no more", "is broken"),
    ],
)
def test_what_is_no_archive_is_said(tmp_path, folder, name, content, match):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^{match}") as error:
        unpack_archive(tmp_path / name, folder, limits=Limits())
    assert "\n" not in str(error.value)


def test_a_cut_archive(tmp_path, folder):
    path = make_tar(tmp_path / "a.tgz", {"a": bytes(range(256)) * 100})
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ValueError, match="^is broken"):
        unpack_archive(path, folder, limits=Limits())
