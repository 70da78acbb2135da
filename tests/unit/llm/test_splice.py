import torch

from espnet_psslm.llm.splice import splice


def segment(rows, lengths):
    """(B, S) numbers to values (B, S, 1), and lengths."""
    return torch.tensor(rows)[..., None], torch.tensor(lengths)


def numbers(values):
    return values[..., 0].tolist()


# [7, AUDIO, 1, 2]; AUDIO is filled with 2.0, 3.0, 4.0. 9.0 is padding that must vanish.
BEFORE = segment([[7.0], [7.0]], [1, 1])
SPEECH = segment([[2.0, 3.0, 4.0], [5.0, 9.0, 9.0]], [3, 1])
AFTER = segment([[1.0, 2.0], [1.0, 2.0]], [2, 2])


def test_pad_right():
    values, mask = splice([BEFORE, SPEECH, AFTER])
    assert numbers(values) == [[7, 2, 3, 4, 1, 2], [7, 5, 1, 2, 0, 0]]
    assert mask.tolist() == [[True] * 6, [True] * 4 + [False] * 2]


def test_pad_left():
    values, mask = splice([BEFORE, SPEECH, AFTER], pad_left=True)
    assert numbers(values) == [[7, 2, 3, 4, 1, 2], [0, 0, 7, 5, 1, 2]]
    assert mask.tolist() == [[True] * 6, [False] * 2 + [True] * 4]


def test_empty_segments():
    nothing = segment([[9.0], [9.0]], [0, 0])
    no_width = (torch.zeros(2, 0, 1), torch.tensor([0, 0]))
    half = segment([[9.0, 9.0], [6.0, 8.0]], [0, 2])
    values, mask = splice([nothing, no_width, half, AFTER])
    assert numbers(values) == [[1, 2, 0, 0], [6, 8, 1, 2]]
    assert mask.sum(1).tolist() == [2, 4]


def test_padding_may_be_anything():
    noisy = (SPEECH[0].masked_fill(SPEECH[0] == 9.0, torch.inf), SPEECH[1])
    values, _ = splice([BEFORE, noisy, AFTER])
    assert numbers(values)[1][:4] == [7, 5, 1, 2]


def test_gradient_reaches_its_own_place_only():
    speech = SPEECH[0].clone().requires_grad_()
    values, _ = splice([BEFORE, (speech, SPEECH[1]), AFTER])
    scale = torch.tensor([[1.0, 10, 20, 30, 1, 1], [1.0, 40, 1, 1, 7, 7]])
    (values[..., 0] * scale).sum().backward()
    assert numbers(speech.grad) == [[10, 20, 30], [40, 0, 0]]
