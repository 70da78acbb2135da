"""--simulator on the command line, beside a configuration that names another one."""

import pytest
import yaml


@pytest.fixture
def parse(tmp_path):
    from espnet_psslm.tasks.psslm import PSSLMTask

    def run(*options, **config):
        (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
        args = PSSLMTask.get_parser().parse_args(
            ["--config", str(tmp_path / "train.yaml"), *options]
        )
        return args.simulator, args.simulator_conf

    return run


MEASURED = {"simulator": "measured", "simulator_conf": {"error_scale": 1.5}}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", ("measured", {"error_scale": 1.5})),
        ("--simulator measured", ("measured", {"error_scale": 1.5})),
        (
            "--simulator measured --simulator_conf measured=x",
            ("measured", {"error_scale": 1.5, "measured": "x"}),
        ),
        ("--simulator tasu", ("tasu", {})),
        ("--simulator TASU --simulator_conf delete_prob=0.1", ("tasu", {"delete_prob": 0.1})),
        (
            "--simulator learned --simulator_conf model_file=x --simulator_conf bins.2=0.5",
            ("learned", {"model_file": "x", "bins": {"2": 0.5}}),
        ),
    ],
)
def test_another_simulator_leaves_the_numbers_of_the_first(parse, options, expected):
    assert parse(*options.split(), **MEASURED) == expected


def test_without_a_configuration_it_is_the_published_rule(parse):
    assert parse() == ("tasu", {})


def test_an_unknown_one_is_an_error(parse, capsys):
    with pytest.raises(SystemExit):
        parse("--simulator", "guessed")
    assert "invalid choice: 'guessed'" in capsys.readouterr().err
