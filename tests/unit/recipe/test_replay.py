"""A sample of what was trained on, and of what was not."""

import pytest

from espnet_psslm.recipe.replay import describe_replay, is_held_out, sample_replay, size_of


def rows(count, **more):
    return [
        {"key": f"{i}{more}", "task": "ASR", "target": f"t{i}", "GT": f"t{i}", "path": "a.wav"}
        | more
        for i in range(count)
    ]


def test_at_most_a_tenth_of_the_size_is_of_rows_that_no_training_has_seen():
    held_out = [row | {"GT": "h" + row["GT"]} for row in rows(500, held_out=True)]
    sample = sample_replay(rows(500) + held_out, max_bytes=10_000)
    parts = [[row for row in sample if is_held_out(row) is wanted] for wanted in (True, False)]
    assert 900 < size_of(parts[0]) <= 1_000 and 9_000 < size_of(sample) <= 10_000
    assert sample == sample_replay(rows(500) + held_out, max_bytes=10_000)
    assert all("path" not in row for row in sample)  # text alone


def test_a_sentence_that_is_held_out_is_not_among_those_to_train():
    sample = sample_replay(rows(3) + rows(1, held_out=True))
    assert [(row["GT"], is_held_out(row)) for row in sample][:1] == [("t0", True)]
    assert sorted(row["GT"] for row in sample[1:]) == ["t1", "t2"]
    assert "holds 2 sentences of the training" in describe_replay(sample)
    assert "1 sentences that no training" in describe_replay(sample)


def test_without_a_row_to_train_there_is_no_sample():
    with pytest.raises(ValueError, match="nothing to replay"):
        sample_replay(rows(2, held_out=True))
