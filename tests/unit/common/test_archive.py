"""Archives from anywhere: looked at before they are unpacked."""

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
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


def broken_gzip(data: bytes) -> bytes:
    whole = gzip.compress(data)
    return whole[:-8] + bytes(4) + whole[-4:]  # another checksum


def broken_bz2(data: bytes) -> bytes:
    whole = bytearray(bz2.compress(data))
    whole[len(whole) // 2] ^= 0xFF
    return bytes(whole)


@pytest.mark.parametrize("compress", [broken_gzip, broken_bz2], ids=["gzip", "bz2"])
def test_a_damaged_tar_is_broken_not_a_fault_of_the_disk(tmp_path, folder, compress):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        info = tarfile.TarInfo("a")
        info.size = 60_000
        archive.addfile(info, io.BytesIO(bytes(range(240)) * 250))
    (tmp_path / "a.tgz").write_bytes(compress(plain.getvalue()))
    with pytest.raises(ValueError, match="^is broken"):
        unpack_archive(tmp_path / "a.tgz", folder, limits=Limits())


def test_a_damaged_member_of_a_zip(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a", bytes(range(256)) * 100)
    whole = bytearray((tmp_path / "a.zip").read_bytes())
    whole[60:70] = bytes(10)
    (tmp_path / "a.zip").write_bytes(whole)
    with pytest.raises(ValueError, match="^is broken"):
        unpack_archive(tmp_path / "a.zip", folder, limits=Limits())


def test_a_member_before_the_beginning(tmp_path, folder):
    """The directory of a zip names places; one lies before the file."""
    path = make_zip(tmp_path / "a.zip", {"a": b"x"})
    whole = bytearray(path.read_bytes())
    place = whole.index(b"PK\x05\x06") + 16  # where the directory begins
    whole[place : place + 4] = (10_000).to_bytes(4, "little")
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="^is broken"):
        unpack_archive(path, folder, limits=Limits())


@pytest.mark.parametrize("names", [["x" * 300], ["a", "a/b"], ["a/b", "a"]])
@pytest.mark.parametrize(("make", "file"), [(make_zip, "a.zip"), (make_tar, "a.tgz")])
def test_names_that_no_file_can_have(tmp_path, folder, make, file, names):
    path = make(tmp_path / file, dict.fromkeys(names, b"x"))
    with pytest.raises(ValueError, match="^holds '[^']*', which cannot be a file"):
        unpack_archive(path, folder, limits=Limits())


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_as_large_as_memory(tmp_path, folder, kind):
    """Python reads what stands in front of a member at once, however much it is."""
    info = tarfile.TarInfo("long")
    info.type, info.size = kind, 200_000_000
    (tmp_path / "a.txz").write_bytes(lzma.compress(info.tobuf() + bytes(info.size), preset=0))
    tracemalloc.start()
    with pytest.raises(ValueError, match="^holds 'long' with a header of 200000000 bytes"):
        unpack_archive(tmp_path / "a.txz", folder, limits=Limits())
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_a_file_with_holes(tmp_path, folder):
    info = tarfile.TarInfo("a")
    info.type = tarfile.GNUTYPE_SPARSE
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ValueError, match="^holds a file with holes, 'a'"):
        unpack_archive(tmp_path / "a.tar", folder, limits=Limits())


def test_what_comes_behind_a_tar(tmp_path, folder):
    path = make_tar(tmp_path / "a.tgz", {"a": b"x"})
    with gzip.open(path, "ab") as stream:
        stream.write(bytes(10_000_000))
    with pytest.raises(ValueError, match="^goes on behind its last member"):
        unpack_archive(path, folder, limits=Limits())
