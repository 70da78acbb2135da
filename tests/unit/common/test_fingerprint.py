"""One hash of options and of the contents of files."""

import os

from espnet_psslm.common import fingerprint as module
from espnet_psslm.common.fingerprint import fingerprint


def test_contents_count_and_places_do_not(tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.pth").write_bytes(b"weights")
    known = fingerprint({"beam": 4}, {"model": tmp_path / "a/model.pth"})
    assert known == fingerprint({"beam": 4}, {"model": str(tmp_path / "b/model.pth")})
    assert known != fingerprint({"beam": 5}, {"model": tmp_path / "a/model.pth"})
    status = (tmp_path / "a/model.pth").stat()
    (tmp_path / "a/model.pth").write_bytes(b"WEIGHTS")
    os.utime(tmp_path / "a/model.pth", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert known != fingerprint({"beam": 4}, {"model": tmp_path / "a/model.pth"})


def test_folders_and_nested_values(tmp_path) -> None:
    (tmp_path / "lm/deep").mkdir(parents=True)
    (tmp_path / "lm/deep/x").write_text("1")
    files = {"llm": {"name": str(tmp_path / "lm"), "layers": [1, None], "empty": ""}}
    known = fingerprint({}, files)
    assert known == fingerprint({}, files)
    (tmp_path / "lm/deep/x").write_text("2")
    assert known != fingerprint({}, files)


def test_what_is_no_file_stands_for_itself() -> None:
    assert fingerprint({}, {"llm": "user/model"}) != fingerprint({}, {"llm": "user/other"})


def test_pieces_of_large_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "PIECE", 4)
    monkeypatch.setattr(module, "WHOLE", 16)
    path = tmp_path / "model"
    path.write_bytes(b"x" * 100)
    known = fingerprint({}, {"model": path})
    path.write_bytes(b"y" * 100)
    assert known != fingerprint({}, {"model": path})
    path.write_bytes(b"x" * 101)
    assert known != fingerprint({}, {"model": path})
