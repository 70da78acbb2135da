import pytest
import torch

from espnet_psslm.bridge.phone_sync import MergeThenDrop
from espnet_psslm.bridge.steps import PosteriorSteps, collate_steps, uniform_rows, widen
from espnet_psslm.bridge.steps_file import StepsWriter, read_steps

NUM_UNITS = 6


def rows(ids, probs):
    return torch.tensor(ids), torch.tensor(probs)


ONE = rows([[2, 5], [0, 1]], [[0.7, 0.2], [0.5, 0.3]])
OTHER = rows([[4]], [[0.9]])
NOTHING = (torch.zeros(0, 1, dtype=torch.long), torch.zeros(0, 1))


def steps_of(*utterances):
    ids, probs, lengths = collate_steps(utterances, num_units=NUM_UNITS)
    return PosteriorSteps(ids, probs, lengths, NUM_UNITS)


def test_dense_rows_by_hand():
    dense = steps_of(ONE, OTHER, NOTHING).dense()
    rest = 0.1 / 4
    torch.testing.assert_close(dense[0, 0], torch.tensor([rest, rest, 0.7, rest, rest, 0.2]))
    torch.testing.assert_close(dense[0, 1], torch.tensor([0.5, 0.3, 0.05, 0.05, 0.05, 0.05]))
    torch.testing.assert_close(dense[1, 0], torch.tensor([0.02] * 4 + [0.9] + [0.02]))
    for padding in (dense[1, 1], dense[2, 0], dense[2, 1]):
        torch.testing.assert_close(padding, torch.full((NUM_UNITS,), 1 / NUM_UNITS))


def test_lengths_and_mask():
    steps = steps_of(ONE, OTHER, NOTHING)
    assert steps.lengths.tolist() == [2, 1, 0]
    assert steps.mask.tolist() == [[True, True], [True, False], [False, False]]


@pytest.mark.parametrize("num_listed", [1, 2, 4, 6])
def test_widening_changes_no_probability(num_listed):
    ids, probs = widen(*ONE, num_listed, NUM_UNITS)
    assert ids.shape == (2, max(2, num_listed))
    assert all(len(set(row)) == len(row) for row in ids.tolist())
    wide = PosteriorSteps(ids[None], probs[None], torch.tensor([2]), NUM_UNITS)
    torch.testing.assert_close(wide.dense(), steps_of(ONE).dense())


def test_all_units_listed_leave_no_rest():
    ids, probs = widen(*ONE, NUM_UNITS, NUM_UNITS)
    steps = PosteriorSteps(ids[None], probs[None], torch.tensor([2]), NUM_UNITS)
    assert (steps.rest == 0).all()


def test_rounded_sum_over_one_leaves_no_negative_rest():
    steps = steps_of(rows([[1, 2]], [[0.7, 0.3000002]]))
    assert (steps.rest >= 0).all()


def test_padding_rows_are_uniform():
    ids, probs = uniform_rows(2, 3, NUM_UNITS)
    assert ids.tolist() == [[0, 1, 2]] * 2
    torch.testing.assert_close(probs, torch.full((2, 3), 1 / NUM_UNITS))


def test_select_and_to():
    steps = steps_of(ONE, OTHER, NOTHING)
    one = steps.select(torch.tensor([1]))
    assert one.lengths.tolist() == [1]
    assert torch.equal(one.dense(), steps.dense()[1:2])
    assert steps.select(torch.tensor([True, False, True])).lengths.tolist() == [2, 0]
    assert steps.to("meta").unit_ids.is_meta


def test_wrong_shapes_are_named():
    ids, probs, lengths = collate_steps([ONE], num_units=NUM_UNITS)
    with pytest.raises(ValueError, match=r"unit_ids \(1, 2, 2\) and probs \(1, 2\)"):
        PosteriorSteps(ids, probs[..., 0], lengths, NUM_UNITS)
    with pytest.raises(ValueError, match="2 listed units per step, but .* num_units=1"):
        PosteriorSteps(ids, probs, lengths, 1)


def test_file_round_trip(tmp_path):
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(3, 12, NUM_UNITS, generator=generator)
    logits[1, :, 0] = 50.0  # all blank: no step
    lengths = torch.tensor([12, 9, 5])
    reduction = MergeThenDrop(blank_id=0, max_units=3)
    with StepsWriter(tmp_path / "dump" / "steps.ark", {}) as writer:
        steps = reduction(logits.softmax(-1), lengths)
        writer.write_batch(["a", "b", "c"], steps)
        writer.write_batch(["d"], steps.select(torch.tensor([0])))
    scp = (tmp_path / "dump" / "steps.scp").read_text().splitlines()
    locations = dict(line.split() for line in scp)
    assert locations == writer.locations
    assert list(locations) == ["a", "b", "c", "d"]
    # In any order.
    for name, row in (("d", 0), ("b", 1), ("c", 2), ("a", 0)):
        count = int(steps.lengths[row])
        ids, probs, spans = read_steps(locations[name])
        assert torch.equal(ids, steps.unit_ids[row, :count])
        torch.testing.assert_close(probs, steps.probs[row, :count], rtol=5e-4, atol=1e-7)
        assert torch.equal(spans[:, 0], steps.frame_start[row, :count])
        assert torch.equal(spans[:, 1], steps.frame_end[row, :count])
    assert len(read_steps(locations["b"])[0]) == 0


def test_unreadable_location_is_named(tmp_path):
    (tmp_path / "no.ark").write_bytes(b"something else entirely")
    for location in (f"{tmp_path}/no.ark:3", f"{tmp_path}/absent.ark:0", f"{tmp_path}/no.ark"):
        with pytest.raises(ValueError, match="no Steps at '.*'.*dump them again with stage 8"):
            read_steps(location)


def test_best_units_and_whether_any_is_one():
    blanks = rows([[0, 3], [2, 0]], [[0.6, 0.3], [0.2, 0.7]])
    steps = steps_of(ONE, blanks, NOTHING)
    assert steps.best_units()[:2].tolist() == [[2, 0], [0, 0]]
    assert steps.has_unit(blank_id=0).tolist() == [True, False, False]
    assert steps.has_unit(blank_id=2).tolist() == [True, True, False]


def test_an_ark_is_named_by_its_content(tmp_path):
    """Who reads an older manifest reads the older ark, until that is removed."""
    writers = []
    for rows_of_one in (ONE, ONE, OTHER):
        ids, probs, lengths = collate_steps([rows_of_one], num_units=NUM_UNITS)
        places = torch.arange(ids.shape[1])[None]
        steps = PosteriorSteps(ids, probs, lengths, NUM_UNITS, places, places + 1)
        with StepsWriter(tmp_path / "steps.ark", {}) as writer:
            writer.write_batch(["a"], steps)
        writers.append(writer)
    first, again, other = writers
    assert first.path == again.path != other.path
    assert torch.equal(read_steps(first.locations["a"])[0], ONE[0])
    other.remove_older()
    assert sorted(p.name for p in tmp_path.iterdir()) == [other.path.name, "steps.scp"]


def test_a_dump_that_fails_leaves_the_old_one(tmp_path):
    with StepsWriter(tmp_path / "steps.ark", {}) as writer:
        pass
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match="stop"), StepsWriter(tmp_path / "steps.ark", {}):
        raise ValueError("stop")
    assert sorted(tmp_path.iterdir()) == before == sorted([writer.path, tmp_path / "steps.scp"])
