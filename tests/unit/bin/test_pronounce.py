"""References in phones."""

from pathlib import Path

import pytest

from espnet_psslm.bin.pronounce import main

pytest.importorskip("phonemizer", reason="needs the extra 'phones'")


def test_transcripts_become_phones(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a two light\nb too\n")
    options = ["--text", str(tmp_path / "text"), "--output", str(tmp_path / "phones")]
    main([*options, "--phone_language", "en-us"])
    assert (tmp_path / "phones").read_text() == "a t uː l aɪ t\nb t uː\n"
