"""A class on the command line, beside a configuration that names another one."""

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
        return args

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
    args = parse(*options.split(), **MEASURED)
    assert (args.simulator, args.simulator_conf) == expected


REDUCED = {
    "reduction": "merge_then_drop",
    "reduction_conf": {"blank_threshold": 0.5, "max_units": 8},
}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--reduction drop_then_merge", {"blank_threshold": 0.5, "max_units": 8}),
        ("--reduction frame_sync", {"max_units": 8}),
        ("--reduction fixed_rate --reduction_conf rate=4", {"max_units": 8, "rate": 4}),
        ("--reduction_conf blank_threshold=0.9", {"blank_threshold": 0.9, "max_units": 8}),
        # What is unknown to the same one is for its builder to say.
        (
            "--reduction merge_then_drop --reduction_conf rate=4",
            REDUCED["reduction_conf"] | {"rate": 4},
        ),
    ],
)
def test_another_reduction_takes_over_what_it_knows(parse, options, expected):
    assert parse(*options.split(), **REDUCED).reduction_conf == expected


@pytest.mark.parametrize(
    "named",
    [
        {"acoustic": "sensevoice", "acoustic_conf": {"name": "a", "hub": "b"}},
        {"acoustic_conf": {"sensevoice": "a", "hub": "b"}},  # before there was ``acoustic``
    ],
)
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--acoustic sensevoice --acoustic_conf name=c", {"name": "c", "hub": "b"}),
        ("--acoustic whisper_ctc --acoustic_conf model_file=c", {"model_file": "c"}),
    ],
)
def test_another_acoustic_model(parse, named, options, expected):
    args = parse(*options.split(), **named)
    assert (args.acoustic, args.acoustic_conf) == (options.split()[1], expected)


def test_without_a_configuration_it_is_the_published_rule(parse):
    args = parse()
    assert (args.simulator, args.simulator_conf) == ("tasu", {})


def test_an_unknown_one_is_an_error(parse, capsys):
    with pytest.raises(SystemExit):
        parse("--simulator", "guessed")
    assert "invalid choice: 'guessed'" in capsys.readouterr().err
