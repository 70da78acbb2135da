"""Options of a configuration that do not fit what is built of them."""

from types import SimpleNamespace

import pytest

from espnet_psslm.common.options import check_known, nearest, options_of, section
from espnet_psslm.training.builders import build_simulator


class Sized:
    def __init__(self, width: int, *, blank_id: int, size: int, colour: str = "red") -> None:
        self.size = size + width


def test_what_a_class_can_be_told():
    assert list(options_of(Sized, given=["blank_id"])) == ["size", "colour"]
    assert nearest("colors", ("size", "colour")) == "colour"
    assert nearest("weight", ("size", "colour")) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"siz": 1}, "x_conf of y: ['siz'] is unknown; did you mean size? use colour, size"),
        ({"size": 1, "blank_id": 0, "z": 1}, "['blank_id', 'z'] is unknown; use colour, size"),
        ({7: 1}, "x_conf of y: [7] is unknown; use colour, size"),
        ({"colour": "red"}, "x_conf of y: lacks size"),
        ({"size": "wide"}, "x_conf of y: "),  # which is no number
    ],
)
def test_what_does_not_fit(options, said):
    with (
        pytest.raises(ValueError) as error,
        section("x_conf of y", options, Sized, given=["blank_id"]),
    ):
        Sized(3, blank_id=0, **options)
    assert said in str(error.value)


def test_what_fits():
    options = {"size": 1}
    with section("x_conf", options, Sized, given=["blank_id"]):
        assert Sized(3, blank_id=0, **options).size == 4
    check_known("x_conf", {}, ())
    with pytest.raises(ValueError, match=r"x_conf: \['a'\] is unknown; there are no options"):
        check_known("x_conf", {"a"}, ())


def test_the_simulator_says_what_it_knows():
    conf = {"max_smothing": 0.1}
    args = SimpleNamespace(token_list=[], acoustic_conf={}, simulator="tasu", simulator_conf=conf)
    units = SimpleNamespace(num_units=5, blank_id=0)
    with pytest.raises(ValueError) as error:
        build_simulator(args, units, {})
    said = (
        "['max_smothing'] is unknown; did you mean max_smoothing? use delete_prob, duplicate_prob"
    )
    assert f"simulator_conf of tasu: {said}" in str(error.value)
