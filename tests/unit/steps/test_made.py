"""What a dump says of how it was made, and who compares it with what."""

import logging

import pytest
import torch

from espnet_psslm.bridge.phone_sync import build_reduction
from espnet_psslm.bridge.steps_file import StepsWriter, read_made, read_steps
from espnet_psslm.steps.made import Dumps, OtherSteps, check_made, how_made
from tests.whole_files import arks, steps_of_units, steps_records

TOKENS = ["<blank>", "<unk>", "a", "b", "<sos/eos>"]
MADE = {
    "step_kind": "posterior",
    "reduction": "merge_then_drop",
    "max_units": 16,
    "blank_threshold": 0.5,
    "units": "5 (b4c6a4ff)",
}


@pytest.fixture
def dump(tmp_path):
    """Writes an ark of one utterance; returns its location."""

    def write(name, made):
        with StepsWriter(tmp_path / name / "steps.ark", made) as writer:
            writer.write_batch(["utt"], steps_of_units([[2, 1]], [[0.75, 0.25]]))
        return writer.locations["utt"]

    return write


def test_options_that_are_not_given_are_recorded_too():
    reduction = build_reduction("merge_then_drop", blank_id=0, blank_threshold=0.5)
    made = how_made("posterior", reduction, TOKENS)
    assert made | {"units": ""} == MADE | {"units": ""}
    assert made["units"].startswith("5 (")
    assert how_made("posterior", reduction, [*TOKENS[:2], "c", *TOKENS[3:]]) != made
    fixed = build_reduction("fixed_rate", blank_id=1, rate=3, max_units=4)
    known = {"step_kind": "feature", "reduction": "fixed_rate", "rate": 3, "max_units": 4}
    assert how_made("feature", fixed, None) == known


def test_a_dump_says_it_and_its_steps_are_read_as_ever(dump):
    location = dump("a", MADE)
    ark, offset = location.rsplit(":", 1)
    assert read_made(ark) == MADE and int(offset) > 0
    unit_ids, probs, spans = read_steps(location)
    assert unit_ids.tolist() == [[2, 1]] and probs.tolist() == [[0.75, 0.25]]
    assert spans.tolist() == [[0, 2]]
    with pytest.raises(ValueError, match="no Steps at .*steps-.*ark:0.*uint8"):
        read_steps(f"{ark}:0")


def test_one_that_says_nothing_is_read_with_one_warning(tmp_path, caplog):
    for number, data in enumerate(steps_records(tmp_path)):
        (tmp_path / f"{number}.old").write_bytes(data)
    dumps = Dumps(MADE)
    for _ in range(2):
        assert torch.equal(
            dumps.read(f"{tmp_path}/0.old:0")[0]["unit_ids"][0], torch.tensor([1, 0])
        )
    [warning] = caplog.records
    assert warning.levelno == logging.WARNING
    assert warning.getMessage().startswith(f"{tmp_path}/0.old was dumped by an earlier version")
    assert "features" in dumps.read(f"{tmp_path}/1.old:0")[0] and len(caplog.records) == 1


@pytest.mark.parametrize(
    ("change", "theirs", "ours"),
    [
        ({"blank_threshold": 0.9}, "blank_threshold 0.9", "blank_threshold 0.5"),
        (
            {"reduction": "drop_then_merge", "max_units": 8},
            "reduction drop_then_merge, max_units 8",
            "reduction merge_then_drop, max_units 16",
        ),
        ({"step_kind": "feature"}, "step_kind feature", "step_kind posterior"),
        ({"units": "5 (00000000)"}, "units 5 (00000000)", f"units {MADE['units']}"),
    ],
)
def test_what_was_made_otherwise_is_refused(dump, change, theirs, ours):
    location = dump("a", MADE | change)
    with pytest.raises(OtherSteps) as error:
        Dumps(MADE).read_posteriors(location)
    ark = location.rpartition(":")[0]
    said = f"{ark} was made with {theirs}, here it is {ours}: run stage 8 (dump_steps) again"
    assert str(error.value).startswith(said) and "\n" not in str(error.value)


def test_what_one_side_does_not_know_is_not_compared(dump):
    check_made({"rate": 3}, {"blank_threshold": 0.9}, place="x")
    check_made({}, MADE, place="x")
    check_made(MADE, {}, place="x")
    imported = dump("a", {name: MADE[name] for name in ("step_kind", "units")})
    assert Dumps(MADE).read(imported)


def test_dumps_that_are_read_together_are_alike(dump):
    """Whoever has no reduction of his own takes that of the first."""
    dumps = Dumps({"units": MADE["units"]})
    dumps.read(dump("a", MADE))
    assert dumps.made == MADE
    dumps.read(dump("b", MADE | {"more": 1}))
    with pytest.raises(OtherSteps, match=r"blank_threshold 0\.7, here it is blank_threshold 0\.5"):
        dumps.read(dump("c", MADE | {"blank_threshold": 0.7}))


@pytest.mark.parametrize("content", [b"", b"RIFF", b"\x93NUMPY\x01\x00"])
def test_what_is_no_dump(tmp_path, content):
    (tmp_path / "a.ark").write_bytes(content)
    for path in (tmp_path / "a.ark", tmp_path / "none.ark"):
        with pytest.raises(ValueError, match=f"no Steps in '{path}'.*stage 8"):
            read_made(path)


def test_a_record_that_is_none(tmp_path):
    ark = arks(tmp_path)[0]
    (tmp_path / "a.ark").write_bytes(ark.replace(b'{"step_kind"', b'["step_kind"'))
    with pytest.raises(ValueError, match="no Steps in .*a.ark"):
        read_made(tmp_path / "a.ark")
