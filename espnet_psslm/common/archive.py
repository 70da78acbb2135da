"""Unpack an archive that came from somewhere: nothing outside its folder, nothing endless."""

import errno
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

GB = 1e9
CHUNK = 1 << 20
# What the standard library raises for archives that are broken, encrypted, or of unknown methods.
BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError),
    *(EOFError, RuntimeError, ValueError, MemoryError),
)
# Of an OSError that tells of the archive, not of the disk: gzip and bz2 raise such without number,
# zip looks in places that no file has.
BROKEN_NUMBERS = (None, errno.EINVAL)
# Of an OSError that tells of a member's name: too long, or of a file that is a folder elsewhere.
NAME_NUMBERS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
# What a tar may hold in front of a member: its long name, and what else its header has no room for.
TAR_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
STRAYS = (
    (b"version https://git-lfs", "a git-lfs pointer; fetch the file itself with 'git lfs pull'"),
    (b"<", "a web page; check the address that it was fetched from"),
)


@dataclass(frozen=True)
class Limits:
    """How much an archive may unpack to, or a hub's folder hold.

    Args:
        gb: size of all files.
        ratio: the same, by the size of the archive. Weights hardly compress.
        files: number of them.
    """

    gb: float = 20.0
    ratio: float = 100.0
    files: int = 10_000

    @classmethod
    def up_to(cls, gb: float | None) -> "Limits":
        """The usual limits; or, where a user names a size, that in place of size and ratio."""
        return cls() if gb is None else cls(gb=gb, ratio=float("inf"))

    def check_folder(self, sizes: Sequence[int]) -> None:
        """Refuse a folder that is too much, before it is fetched.

        Args:
            sizes: of its files.

        Raises:
            Refused: naming its size.
        """
        self.check_number(len(sizes))
        if sum(sizes) > self.gb * GB:
            raise Refused(
                f"holds {sum(sizes) / GB:.3g} GB (at most {self.gb:g} GB); if that is right, fetch "
                "it by other means and give the folder, or raise --max_unpacked_gb"
            )

    def check_number(self, files: int) -> None:
        """Refuse so many files."""
        if files > self.files:
            raise Refused(f"holds more than {self.files} files; no packed model does")


@dataclass(frozen=True)
class Member:
    """One file of an archive."""

    name: str
    size: int  # unpacked, as the archive says; no more is ever read
    info: zipfile.ZipInfo | tarfile.TarInfo


def unpack_archive(path: Path, folder: Path, *, limits: Limits) -> list[str]:
    """Unpack a zip or tar archive, after a look at all that it holds.

    Args:
        path: the archive.
        folder: an empty one.
        limits: on what it may hold.

    Returns:
        Names of its files, relative to the folder.

    Raises:
        ValueError: saying what it is (the caller says which), if it is broken, too large, or holds
            something that is no plain file inside the folder.
    """
    try:
        with _opened(path) as archive:
            members = _checked(archive, path, limits)
            for member in members:
                with archive.stream(member) as source, _created(folder, member.name) as copy:
                    shutil.copyfileobj(source, copy, CHUNK)
            archive.check_end()
    except Refused:
        raise
    except (*BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno not in BROKEN_NUMBERS:
            raise
        reason = what_it_is(path) or f"broken ({_first_line(error)}); fetch it again, whole"
        raise ValueError(f"is {reason}") from error
    return [member.name for member in members]


def _created(folder: Path, name: str) -> IO[bytes]:
    """The file of a member, open."""
    target = folder / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return open(target, "wb")
    except OSError as error:
        if error.errno in NAME_NUMBERS:
            raise Refused(f"holds {name!r}, which cannot be a file ({error.strerror})") from error
        raise


def what_it_is(path: str | Path) -> str | None:
    """What came in place of a large file, with the way to get that; None if it is not known.

    Args:
        path: the file.
    """
    with open(path, "rb") as stream:
        start = stream.read(512)
    if not start:
        return "empty; fetch it again"
    return next((what for sign, what in STRAYS if start.lstrip().startswith(sign)), None)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Refused(ValueError):
    """An archive that is whole, and not to be unpacked; a folder that is not to be fetched."""


class _Zip:
    def __init__(self, path: Path) -> None:
        self.file = zipfile.ZipFile(path)

    def members(self) -> Iterator[Member]:
        for info in self.file.infolist():
            # Zip keeps the kind of a file as Unix does, or not at all.
            is_link = info.external_attr >> 28 == 0o12
            if is_link:
                raise Refused(f"holds a link, {info.filename!r}")
            if not info.is_dir():
                # As it stands in the file: ZipInfo.filename is mended already.
                yield Member(info.orig_filename, info.file_size, info)

    def stream(self, member: Member) -> IO[bytes]:
        return self.file.open(member.info)

    def check_end(self) -> None:
        """Every member has a checksum of its own."""


class _TarInfo(tarfile.TarInfo):
    """What a header says, looked at before anything behind it is read."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_TarInfo":
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0 or (info.type in TAR_HEADERS and info.size > CHUNK):
            raise Refused(f"holds {info.name!r} with a header of {info.size} bytes; do not use it")
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise Refused(f"holds a file with holes, {info.name!r}")
        return info


class _Tar:
    def __init__(self, path: Path) -> None:
        self.file = tarfile.open(path, tarinfo=_TarInfo)

    def members(self) -> Iterator[Member]:
        for info in self.file:
            if not info.isdir() and not info.isreg():
                raise Refused(f"holds a link or a device, {info.name!r}")
            if info.isreg():
                yield Member(info.name, info.size, info)

    def stream(self, member: Member) -> IO[bytes]:
        return self.file.extractfile(member.info)

    def check_end(self) -> None:
        """What compressed it has its checksum behind the last block, where nobody has looked."""
        self.file.fileobj.read(CHUNK)
        if self.file.fileobj.read(1):
            raise Refused("goes on behind its last member; do not use it")


@contextmanager
def _opened(path: Path) -> Iterator[_Zip | _Tar]:
    # By its name, as ESPnet does: by its content a pack with an archive at its end is of two kinds.
    archive = _Zip(path) if path.suffix == ".zip" else _Tar(path)
    with archive.file:
        yield archive


def _checked(archive: _Zip | _Tar, path: Path, limits: Limits) -> list[Member]:
    """All members; stops at the first that is too much, before more of a tar is decompressed."""
    members: list[Member] = []
    most = min(limits.gb * GB, limits.ratio * max(os.path.getsize(path), CHUNK))
    size = 0
    for member in archive.members():
        _check_name(member.name)
        members.append(member)
        size += member.size
        if size > most:
            raise Refused(
                f"would unpack to more than {most / GB:.2g} GB (at most {limits.gb:g} GB and "
                f"{limits.ratio:g} times its own size); if that is right, unpack it by other means "
                "and give the folder, or raise --max_unpacked_gb"
            )
        limits.check_number(len(members))
    return members


def _check_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise Refused(f"holds {name!r}, a name that leads out of its folder; do not use it")
