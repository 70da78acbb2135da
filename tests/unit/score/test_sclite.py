import os

import pytest

from espnet_psslm.score.sclite import write_sclite

REFS, HYPS = {"b": "Gute Nacht!", "a": "ja"}, {"a": "Ja."}


@pytest.fixture
def sclite(tmp_path, monkeypatch):
    """A program of that name that repeats its arguments."""

    def install(status=0):
        program = tmp_path / "bin/sclite"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\necho "$@"\ncat ref.trn hyp.trn\nexit {status}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return install


def test_words(sclite, tmp_path):
    sclite()
    assert write_sclite(tmp_path / "s", REFS, HYPS, metric="wer", language="de")
    lines = (tmp_path / "s/result.txt").read_text().splitlines()
    assert lines[0] == "-r ref.trn trn -h hyp.trn trn -i rm -e utf-8 -o all stdout"
    assert lines[1:] == ["ja (a-a)", "gute nacht (b-b)", "ja (a-a)", " (b-b)"]


def test_characters(sclite, tmp_path):
    sclite()
    assert write_sclite(tmp_path, REFS, HYPS, metric="cer", language="de")
    assert "g u t e <space> n a c h t (b-b)" in (tmp_path / "ref.trn").read_text()


def test_absent_or_failing(sclite, tmp_path, monkeypatch):
    sclite(status=3)
    assert not write_sclite(tmp_path / "s", REFS, HYPS, metric="wer", language="de")
    assert not (tmp_path / "s/result.txt").exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not write_sclite(tmp_path / "t", REFS, HYPS, metric="wer", language="de")
    assert not (tmp_path / "t").exists()
