"""The trie of labels, drawn by hand."""

import pytest
import torch

from espnet_psslm.llm.labels import KeepToLabels, LabelTrie, build_trie

END = 9
LABELS = {(3,): "on", (3, 4): "on top", (5, 4, 4): "off"}


def test_what_may_follow():
    trie = LabelTrie(LABELS, end_id=END)
    assert trie.following([]) == [3, 5]
    assert trie.following([3]) == [4, END]
    assert trie.following([3, 4]) == [END]
    assert trie.following([5, 4]) == [4]
    assert trie.following([4]) == []
    assert trie.following([3, END]) == []
    assert trie.longest == 4
    assert trie.text([5, 4, 4]) == "off"


def test_labels_of_texts():
    trie = build_trie(["ab", "c", "ab"], encode=lambda text: [ord(c) for c in text], end_id=END)
    assert trie.labels == {(97, 98): "ab", (99,): "c"}


@pytest.mark.parametrize("labels", [{}, {(): ""}, {(1,): "a", (): ""}])
def test_nothing_is_no_label(labels):
    with pytest.raises(ValueError, match="needs some, none of them empty"):
        LabelTrie(labels, end_id=END)


def test_scores_of_what_leaves_the_labels():
    keep = KeepToLabels([LabelTrie(LABELS, end_id=END), None])
    scores = torch.arange(20.0).view(2, 10)
    kept = keep(torch.tensor([[3], [3]]), scores)
    assert kept[0].isfinite().nonzero()[:, 0].tolist() == [4, END]
    assert kept[0, 4] == 4.0
    assert torch.equal(kept[1], scores[1])
    assert torch.equal(scores, torch.arange(20.0).view(2, 10))
