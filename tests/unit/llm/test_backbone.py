import threading
import time

import pytest
import torch

from espnet_psslm.common import cache
from espnet_psslm.llm import backbone
from espnet_psslm.llm.backbone import dequantise_gguf, load_language_model, load_tokenizer


def test_folder_loads_frozen_in_eval_mode_and_dtype(lm_folder):
    model = load_language_model(str(lm_folder), dtype=torch.bfloat16)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in model.parameters())
    tokenizer = load_tokenizer(str(lm_folder))
    assert tokenizer.chat_template and load_tokenizer(str(lm_folder)) is tokenizer


def test_what_cannot_be_loaded_is_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in (str(tmp_path), str(tmp_path / "absent.gguf")):
        with pytest.raises(ValueError, match="language model '.*(llm_conf.name)") as error:
            load_language_model(name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)


@pytest.fixture
def gguf(tmp_path, monkeypatch):
    """A stand-in for a GGUF file, and the folders that were written for it."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"weights")
    written = []

    def convert(source, folder):
        folder.mkdir()
        time.sleep(0.05)
        (folder / "model.safetensors").write_bytes(source.read_bytes())
        written.append(folder)

    monkeypatch.setattr(backbone, "_convert_gguf", convert)
    return path, written


def test_gguf_is_converted_once_whoever_asks(gguf):
    path, written = gguf
    threads = [threading.Thread(target=dequantise_gguf, args=(path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert (dequantise_gguf(path) / "model.safetensors").read_bytes() == b"weights"


def test_other_content_under_one_name_is_converted_anew(gguf):
    path, written = gguf
    first = dequantise_gguf(path)
    path.write_bytes(b"others")
    second = dequantise_gguf(path)
    assert first != second
    assert (second / "model.safetensors").read_bytes() == b"others"
    assert len(written) == 2


def test_failed_conversion_leaves_nothing(gguf, monkeypatch):
    path, _ = gguf

    def fail(source, folder):
        folder.mkdir()
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(backbone, "_convert_gguf", fail)
        with pytest.raises(RuntimeError):
            dequantise_gguf(path)
    assert [p.name for p in backbone.cache_folder().iterdir() if not p.name.startswith(".")] == []
    assert (dequantise_gguf(path) / "model.safetensors").exists()
