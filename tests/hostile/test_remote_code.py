"""Models that bring code of their own: it is not run, and nobody is asked whether it may be."""

import json
import sys
from argparse import Namespace

import pytest
import torch

from espnet_psslm.llm.backbone import load_language_model, load_tokenizer
from espnet_psslm.tasks.psslm_parts import trusts_remote_code

CODE = """
open({ran!r}, "w").close()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class StrangeConfig(LlamaConfig):
    model_type = "strange"
class StrangeModel(LlamaForCausalLM):
    config_class = StrangeConfig
class StrangeTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture
def strange(lm_folder, tmp_path, monkeypatch):
    """A language model whose classes lie beside its weights, and the file that their code makes."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "stdin", None)  # who asks fails
    folder = tmp_path / "strange"
    folder.mkdir()
    for path in lm_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    ran = tmp_path / "ran"
    (folder / "strange.py").write_text(CODE.format(ran=str(ran)))
    classes = {
        "AutoConfig": "strange.StrangeConfig",
        "AutoModelForCausalLM": "strange.StrangeModel",
    }
    for name, changes in {
        "config.json": {"model_type": "strange", "auto_map": classes},
        "tokenizer_config.json": {
            "tokenizer_class": "StrangeTokenizer",
            "auto_map": {"AutoTokenizer": [None, "strange.StrangeTokenizer"]},
        },
    }.items():
        config = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps(config))
    return folder, ran


def test_code_beside_the_weights_is_not_run(strange):
    folder, ran = strange
    match = "strange' comes with code of its own, which is not run.*--trust_remote_code true"
    for load in (load_language_model, load_tokenizer):
        with pytest.raises(ValueError, match=match) as error:
            load(str(folder))
        assert "\n" not in str(error.value)
    assert not ran.exists()


def test_only_who_says_so_runs_it(strange, monkeypatch):
    folder, ran = strange
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder / "cache"))
    model = load_language_model(str(folder), dtype=torch.bfloat16, trust_remote_code=True)
    assert type(model).__name__ == "StrangeModel" and ran.exists()


@pytest.mark.parametrize(("conf", "trusts"), [({}, False), ({"trust_remote_code": True}, True)])
def test_the_configuration_of_a_training_may_say_so(conf, trusts):
    assert trusts_remote_code(Namespace(llm_conf=conf)) is trusts


def test_words_that_may_mean_anything_are_refused():
    with pytest.raises(ValueError, match="trust_remote_code: 'no'; write true or false"):
        trusts_remote_code(Namespace(llm_conf={"trust_remote_code": "no"}))


def test_a_pack_that_says_so_is_not_heard(strange, tmp_path, lm_folder, units_folder, prompt_file):
    """What a configuration says came with the pack; only the user's own word counts."""
    import yaml

    from espnet_psslm.inference.decoder import PSSLMDecoder

    folder, ran = strange
    config = {
        "token_list": str(units_folder / "tokens.txt"),
        "bpemodel": str(units_folder / "bpe.model"),
        "prompt_file": str(prompt_file),
        "llm_conf": {"name": str(folder), "trust_remote_code": True},
        "acoustic_conf": {},
        "projector": "linear-silu",
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save({"projector": torch.ones(1)}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="comes with code of its own, which is not run"):
        PSSLMDecoder(tmp_path / "config.yaml", tmp_path / "model.pth", device="cpu", source="text")
    assert not ran.exists()
