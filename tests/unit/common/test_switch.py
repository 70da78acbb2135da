import pytest

from espnet_psslm.bin.psslm_inference import get_parser

NEEDED = ("--psslm_train_config", "c", "--psslm_model_file", "m", "--manifest", "r")


@pytest.mark.parametrize(
    ("yaml", "words", "merged"),
    [
        ("", (), False),
        ("merge_lora: true", (), True),
        ("merge_lora: 'true'", (), True),
        ("merge_lora: true", ("--merge_lora", "false"), False),
    ],
)
def test_yaml_and_command_line_mean_the_same(tmp_path, yaml, words, merged):
    (tmp_path / "x.yaml").write_text(f"{yaml}\nbatch_size: 2\n")
    command = ["--config", str(tmp_path / "x.yaml"), "--output_dir", "o", *NEEDED, *words]
    assert get_parser().parse_args(command).merge_lora is merged


def test_nothing_else_is_one(capsys):
    with pytest.raises(SystemExit):
        get_parser().parse_args(["--output_dir", "o", *NEEDED, "--merge_lora", "yes"])
    assert "--merge_lora: 'yes': use true or false" in capsys.readouterr().err
