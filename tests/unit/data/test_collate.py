import numpy as np
import pytest
import torch

from espnet_psslm.data.collate import LengthCollate, StepsCollate

PAD = 9
NUM_UNITS = 6


def sample(before, after, target, **speech_side):
    arrays = {"prompt_index": [2], "before_ids": before, "after_ids": after, "target_ids": target}
    return {name: np.array(ids, dtype=np.int64) for name, ids in arrays.items()} | speech_side


def steps(ids, probs):
    return {"unit_ids": np.array(ids), "probs": np.array(probs, dtype=np.float32)}


NOTHING = {"unit_ids": np.zeros((0, 1), np.int64), "probs": np.zeros((0, 1), np.float32)}
DATA = [
    ("a", sample([], [1, 2], [3, 4, 5], **steps([[1], [2]], [[1.0], [0.9]]))),
    ("b", sample([7], [1], [3], speech=np.ones(5, np.float32))),
    ("c", sample([7, 8], [1], [3, 4], **steps([[3, 1]], [[0.5, 0.25]]))),
    ("d", sample([], [1], [3, 4], speech=np.full(3, 2.0, np.float32))),
    ("e", sample([], [1], [3, 4], **NOTHING)),
]


def collate(data):
    return StepsCollate(num_units=NUM_UNITS, pad_id=PAD)(data)


def test_tokens_are_padded_on_the_right():
    keys, batch = collate(DATA)
    assert keys == list("abcde")
    assert batch["prompt_index"] == [2] * 5
    assert batch["before_ids"].tolist() == [[PAD, PAD], [7, PAD], [7, 8], [PAD, PAD], [PAD, PAD]]
    assert batch["before_ids_lengths"].tolist() == [0, 1, 2, 0, 0]
    assert batch["target_ids"].tolist()[:2] == [[3, 4, 5], [3, PAD, PAD]]
    assert batch["target_ids_lengths"].tolist() == [3, 1, 2, 2, 2]


def test_no_token_before_the_speech_at_all():
    _, batch = collate(DATA[:1])
    assert batch["before_ids"].shape == (1, 0)


def test_audio_and_steps_of_a_mixed_batch():
    _, batch = collate(DATA)
    assert batch["speech_rows"] == [1, 3]
    assert batch["speech"].tolist() == [[1.0] * 5, [2.0, 2.0, 2.0, 0.0, 0.0]]
    assert batch["speech_lengths"].tolist() == [5, 3]
    assert batch["given"].lengths.tolist() == [2, 1, 0]
    rows = batch["given"].dense()
    torch.testing.assert_close(rows[0, 1], torch.tensor([0.02, 0.02, 0.9, 0.02, 0.02, 0.02]))
    torch.testing.assert_close(rows[1, 0], torch.tensor([0.0625, 0.25, 0.0625, 0.5] + [0.0625] * 2))
    torch.testing.assert_close(rows[2], torch.full((2, NUM_UNITS), 1 / NUM_UNITS))


@pytest.mark.parametrize(
    ("chosen", "absent"), [([0, 2], "speech"), ([1, 3], "given"), ([4], "speech_rows")]
)
def test_batches_of_one_kind_lack_the_other(chosen, absent):
    _, batch = collate([DATA[row] for row in chosen])
    assert not any(name.startswith(absent) for name in batch)


def test_lengths_count_prefix_tokens_steps_and_audio():
    spoken = sample([], [1], [3, 4], speech=np.ones(9000, np.float32))  # two steps' worth
    keys, batch = LengthCollate(prefix_lengths=[1, 1, 10])([*DATA, ("f", spoken)])
    assert keys == list("abcdef")
    assert batch["length_lengths"].tolist() == [17, 13, 16, 13, 0, 15]  # "e" has no step
    assert batch["length"].shape == (6, 17)
    unheard = spoken | {"speech": np.zeros(0, np.float32)}
    _, batch = LengthCollate(prefix_lengths=[1, 1, 10])([("f", spoken), ("g", unheard)])
    assert batch["length_lengths"].tolist() == [15, 0]
