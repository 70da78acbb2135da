import sys

import pytest

from espnet_psslm.weights import resolve_weights


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package whose import fails, with a file in a subfolder."""
    (tmp_path / "tiny_weights/sub").mkdir(parents=True)
    (tmp_path / "tiny_weights/__init__.py").write_text("raise ImportError('unwanted')")
    (tmp_path / "tiny_weights/sub/model.bin").write_bytes(b"1")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "tiny_weights"


def test_file_and_folder_of_a_package_that_is_not_imported(package):
    assert resolve_weights("package://tiny_weights/sub/model.bin") == str(package / "sub/model.bin")
    assert resolve_weights("package://tiny_weights/sub") == str(package / "sub")
    assert "tiny_weights" not in sys.modules


def test_absent_file_lists_what_is_there(package):
    with pytest.raises(ValueError, match=r"has no 'sub/other.bin'; it holds \['model.bin'\]"):
        resolve_weights("package://tiny_weights/sub/other.bin")


def test_absent_package_says_how_to_install_it():
    with pytest.raises(ValueError, match="'no_such_weights' is not installed.* no-such-weights"):
        resolve_weights("package://no_such_weights/model.bin")


def test_paths_and_hub_names(tmp_path, monkeypatch):
    assert resolve_weights(str(tmp_path)) == str(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert resolve_weights("~/model") == str(tmp_path / "model")
    assert resolve_weights("openai/whisper-tiny") == "openai/whisper-tiny"
