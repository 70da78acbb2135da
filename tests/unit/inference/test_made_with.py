"""The hash of model and options that stands beside results."""

import argparse

import pytest
import yaml

from espnet_psslm.inference.made_with import made_with


@pytest.fixture
def args(tmp_path):
    """Of psslm_inference, with files that hold their names."""
    for name in ("bpe.model", "prompts.jsonl", "bridge.pth", "ctc.pth", "lm/model", "whisper.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    ctc = {"encoder_conf": {"whisper": str(tmp_path / "whisper.bin")}}
    (tmp_path / "ctc.yaml").write_text(yaml.safe_dump(ctc))
    bridge = {
        "bpemodel": str(tmp_path / "bpe.model"),
        "prompt_file": str(tmp_path / "prompts.jsonl"),
        "llm_conf": {"name": str(tmp_path / "lm"), "dtype": "float32"},
        "acoustic_conf": {
            "train_config": str(tmp_path / "ctc.yaml"),
            "model_file": str(tmp_path / "ctc.pth"),
        },
        "train_data_path_and_name_and_type": [[str(tmp_path / "train.jsonl"), "sample", "x"]],
    }
    (tmp_path / "bridge.yaml").write_text(yaml.safe_dump(bridge))
    (tmp_path / "train.jsonl").write_text("x")
    return argparse.Namespace(
        psslm_train_config=str(tmp_path / "bridge.yaml"),
        psslm_model_file=str(tmp_path / "bridge.pth"),
        asr_train_config=None,
        asr_model_file=None,
        manifest="m.jsonl",
        output_dir="out",
        max_skipped=0.1,
        beam_size=4,
    )


def test_data_and_places_do_not_count(args, tmp_path) -> None:
    known = made_with(args)
    args.manifest, args.output_dir, args.max_skipped = "split/2/m.jsonl", "jobs/2", 0.2
    (tmp_path / "train.jsonl").write_text("more")
    assert made_with(args) == known
    args.beam_size = 1
    assert made_with(args) != known


@pytest.mark.parametrize(
    "name",
    ["bpe.model", "prompts.jsonl", "bridge.pth", "ctc.pth", "lm/model", "whisper.bin", "ctc.yaml"],
)
def test_contents_of_the_model_count(args, tmp_path, name) -> None:
    known = made_with(args)
    (tmp_path / name).write_text("{}")
    assert made_with(args) != known


def test_a_pack_that_was_moved_has_its_files_beside_its_configuration(args, tmp_path) -> None:
    pack = tmp_path / "pack"
    for name in ("psslm", "prompts"):
        (pack / name).mkdir(parents=True)
    config = {"prompt_file": "/before/prompts/prompts.jsonl"}
    (pack / "psslm/config.yaml").write_text(yaml.safe_dump(config))
    args.psslm_train_config = str(pack / "psslm/config.yaml")
    (pack / "prompts/prompts.jsonl").write_text("one")
    known = made_with(args)
    (pack / "prompts/prompts.jsonl").write_text("another")
    assert made_with(args) != known


def test_a_configuration_that_is_none_is_left_to_the_command(args, tmp_path) -> None:
    (tmp_path / "bridge.yaml").write_text("a: [b\n")
    assert made_with(args)


def test_files_that_are_not_there_are_left_to_the_command(args) -> None:
    args.psslm_train_config = args.asr_train_config = "none"
    assert made_with(args)
