"""N-best answers and answers that keep to labels, against plain full sequences; float64."""

import pytest
import torch
from transformers import GenerationConfig

from espnet_psslm.llm import search_limits
from espnet_psslm.llm.labels import LabelTrie
from tests.equivalence.test_bridge import (
    END,
    PAD,
    SAMPLES,
    VOCAB,
    answer,
    build,
    collate,
    generate,
    plain_context,
    plain_log_prob,
)

LIKELY_END = 11  # for one sample the likeliest first token
HEARD = [s for s in SAMPLES if len(s.ids)]
LABELS = ((30,), (30, 31), (31, 5, 6), (32, 33, 34, 35), (33, 9), (12, 13))
DEAD = -1e8


def build_with(end):
    model = build(seed=2)
    model.end_id = end
    return model


def nbest(model, samples, *, num_best=1, **search):
    found = answer(model, collate(samples), nbest=num_best, **search)
    return [[(best.token_ids, best.log_prob) for best in answers] for answers in found]


def assert_same(ours, theirs):
    assert [ids for ids, _ in ours] == [ids for ids, _ in theirs]
    assert [p for _, p in ours] == pytest.approx([p for _, p in theirs], abs=1e-4)


def plain_nbest(model, s, *, beam_size, num_best, max_new_tokens):
    """transformers' own n-best behind the full sequence, without what stops a search early."""
    context = plain_context(model, s)
    output = model.lm.module.generate(
        inputs_embeds=context,
        attention_mask=torch.ones(context.shape[:2], dtype=torch.long),
        generation_config=GenerationConfig(
            num_beams=beam_size,
            num_return_sequences=num_best,
            max_new_tokens=max_new_tokens,
            length_penalty=0.0,
            do_sample=False,
            eos_token_id=model.end_id,
            pad_token_id=PAD,
            return_dict_in_generate=True,
            output_scores=True,
        ),
    )
    end = model.end_id
    return [
        (tuple(ids[: ids.index(end)] if end in ids else ids), score)
        for ids, score in zip(
            output.sequences.tolist(), output.sequences_scores.tolist(), strict=True
        )
    ]


@pytest.mark.parametrize("end", [END, LIKELY_END])
@pytest.mark.parametrize(("beam_size", "num_best"), [(3, 2), (4, 4)])
def test_nbest_equals_the_full_sequence_alone(end, beam_size, num_best):
    model = build_with(end)
    search = {"beam_size": beam_size, "num_best": num_best, "max_new_tokens": 8}
    together = nbest(model, SAMPLES, **search)
    for s, found in zip(SAMPLES, together, strict=True):
        if not len(s.ids):
            assert found == [((), 0.0)]
            continue
        assert_same(found, plain_nbest(model, s, **search))
        assert_same(nbest(model, [s], **search)[0], found)
        assert len({ids for ids, _ in found}) == num_best
    best = generate(model, collate(SAMPLES), beam_size=beam_size, max_new_tokens=8)
    assert [ids for ids, _ in best] == [found[0][0] for found in together]


def test_wide_beam_finds_the_ten_most_probable_answers_of_all():
    model = build_with(LIKELY_END)
    found = nbest(model, HEARD, beam_size=VOCAB, num_best=10, max_new_tokens=2)
    embed = model.lm.module.get_input_embeddings()
    for s, ours in zip(HEARD, found, strict=True):
        context = plain_context(model, s).expand(VOCAB, -1, -1)
        fed = torch.cat([context, embed(torch.arange(VOCAB))[:, None]], 1)
        logits = model.lm.module(inputs_embeds=fed).logits[:, -2:].log_softmax(-1)
        pairs = logits[0, 0][:, None] + logits[:, 1]
        every = [((), logits[0, 0, LIKELY_END].item())]
        for first in set(range(VOCAB)) - {LIKELY_END}:
            for second in range(VOCAB):
                ids = (first,) if second == LIKELY_END else (first, second)
                every.append((ids, pairs[first, second].item()))
        every.sort(key=lambda answer: -answer[1])
        assert_same(ours, every[:10])


def test_search_for_several_stops_once_nothing_can_beat_them(monkeypatch):
    model = build_with(LIKELY_END)
    calls = []
    model.lm.module.get_decoder().register_forward_hook(lambda *_: calls.append(1))

    def search(num_best):
        calls.clear()
        found = nbest(model, HEARD, beam_size=4, num_best=num_best, max_new_tokens=40)
        return found, len(calls)

    search(1)  # computes the prefixes
    one, fewest = search(1)
    two, few = search(2)
    monkeypatch.setattr(search_limits.StopAtBest, "__call__", lambda self, ids, scores: scores)
    full, many = search(2)
    for ours, theirs in zip(two, full, strict=True):
        assert_same(ours, theirs)
    assert [found[0][0] for found in one] == [found[0][0] for found in full]
    assert fewest <= few < many


@pytest.fixture
def trie():
    return LabelTrie({ids: str(ids) for ids in LABELS}, end_id=END)


def ranked_labels(model, s):
    every = [(ids, plain_log_prob(model, s, [*ids, END]).sum().item()) for ids in LABELS]
    return sorted(every, key=lambda answer: -answer[1])


@pytest.mark.parametrize("architecture", ["llama", "mistral"])
@pytest.mark.parametrize("num_best", [1, 2, len(LABELS), 8])
def test_as_many_beams_as_labels_rank_them_all(trie, architecture, num_best):
    model = build(architecture=architecture)
    found = nbest(
        model,
        HEARD,
        beam_size=8,
        num_best=num_best,
        max_new_tokens=20,
        labels=[trie] * len(HEARD),
    )
    for s, ours in zip(HEARD, found, strict=True):
        assert_same(ours, ranked_labels(model, s)[:num_best])
    free = nbest(model, HEARD, beam_size=8, max_new_tokens=20)
    assert all(answers[0][0] not in LABELS for answers in free)


@pytest.mark.parametrize("beam_size", [1, 2, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_other_answer_is_possible(trie, beam_size, seed, monkeypatch):
    monkeypatch.setattr(search_limits, "SHORTEST", 2)
    model = build(seed=seed)
    for ratio in (0.0, 0.1):  # a limit that would cut all labels but one
        found = nbest(
            model,
            HEARD,
            beam_size=beam_size,
            num_best=beam_size,
            max_new_tokens=20,
            max_len_ratio=ratio,
            labels=[trie] * len(HEARD),
        )
        for s, answers in zip(HEARD, found, strict=True):
            exact = dict(ranked_labels(model, s))
            assert answers
            for ids, log_prob in answers:
                assert log_prob == pytest.approx(exact[ids], abs=1e-4)


def test_rows_with_and_without_labels_share_a_batch(trie):
    model = build()
    search = {"beam_size": 3, "num_best": 2, "max_new_tokens": 6}
    labels = [trie, None, trie, None, trie]
    together = nbest(model, SAMPLES, labels=labels, **search)
    for s, own, found in zip(SAMPLES, labels, together, strict=True):
        assert_same(found, nbest(model, [s], labels=[own], **search)[0])
    for place in (1, 3):
        assert_same(together[place], nbest(model, [SAMPLES[place]], **search)[0])
    assert together[2] == [((), 0.0)]
