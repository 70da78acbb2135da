"""Columns: many samples as one array a field, the same as an array a sample."""

import numpy as np
import pytest

from espnet_psslm.bridge.columns import Column, TextSamples

ROWS = [[3, 1], [], [4], [1, 5, 9]]


def lists(column):
    return [row.tolist() for row in column]


@pytest.mark.parametrize(
    "column",
    [
        Column.of_lists(ROWS),
        Column.of_arrays([np.array(row, dtype=np.int64) for row in ROWS]),
        Column.of_lengths(np.array([3, 1, 4, 1, 5, 9]), np.array([2, 0, 1, 3])),
    ],
    ids=["lists", "arrays", "lengths"],
)
def test_rows_are_as_given(column):
    assert len(column) == 4
    assert lists(column) == ROWS
    assert column.lengths.tolist() == [2, 0, 1, 3]
    assert column.values.dtype == np.int64
    assert lists(column.part(1, 3)) == [[], [4]]
    assert lists(column.part(2, 4).part(1, 2)) == [[1, 5, 9]]
    assert lists(column.where(column.values > 1)) == [[3], [], [4], [5, 9]]


def test_padding():
    padded, lengths = Column.of_lists(ROWS).padded(np.array(7))
    assert padded.tolist() == [[3, 1, 7], [7, 7, 7], [4, 7, 7], [1, 5, 9]]
    assert lengths.tolist() == [2, 0, 1, 3]
    assert Column.of_lists([[], []]).padded(np.array(7))[0].shape == (2, 0)
    assert Column.of_lists([[], []]).padded(np.array(7), least=1)[0].tolist() == [[7], [7]]


def test_padding_of_rows_of_numbers():
    """Those without a row may have any width."""
    column = Column.of_arrays([np.zeros((0, 1)), np.array([[1.0, 2.0], [3.0, 4.0]])])
    padded, _ = column.padded(np.array([0.5, 0.25]))
    assert padded.tolist() == [[[0.5, 0.25]] * 2, [[1.0, 2.0], [3.0, 4.0]]]
    assert Column.of_arrays([np.zeros((0, 1))]).values.shape == (0, 1)


def test_samples_in_a_row():
    samples = TextSamples(list("abcd"), [0, 2, 1, 0], {"target_ids": Column.of_lists(ROWS)})
    assert len(samples) == 4
    key, arrays = samples[-1]
    assert key == "d"
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "prompt_index": [0],
        "target_ids": [1, 5, 9],
    }
    assert [key for key, _ in samples[1:3]] == ["b", "c"]
    assert [arrays["prompt_index"].tolist() for _, arrays in samples[1:3]] == [[2], [1]]
    assert samples[2:9][1][1]["target_ids"].tolist() == [1, 5, 9]
    with pytest.raises(IndexError):
        samples[4]
