"""The learned simulator against plain references, on tiny random networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from espnet_psslm.bridge.steps import PosteriorSteps, collate_steps
from espnet_psslm.steps.learned import (
    PEAK_EDGES,
    LearnedSimulator,
    most_rows,
    simulator_loss,
)
from espnet_psslm.steps.place import Place

V = 9
TEXTS = ([3, 4, 5, 3], [6, 7])


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LearnedSimulator(
            V, num_bins=2, width=16, layers=2, heads=2, hidden=32, num_listed=4
        ).eval()


def batch(texts):
    lengths = torch.tensor([len(text) for text in texts])
    ids = torch.zeros(len(texts), int(lengths.max()), dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
    return ids, lengths


def heard(texts, *, seed=0, peak=None):
    """Rows of three listed units, best first, about the units of the texts."""
    rng = np.random.default_rng(seed)
    samples = []
    for text in texts:
        ids = np.stack([np.roll(np.arange(V), -unit)[[0, 2, 5]] for unit in text])
        probs = np.sort(rng.dirichlet([1.0, 1.0, 1.0], len(text)))[:, ::-1] * 0.95
        if peak is not None:
            probs = np.tile([peak, (1 - peak) / 2, (1 - peak) / 4], (len(text), 1))
        samples.append((torch.from_numpy(ids), torch.from_numpy(probs.copy()).float()))
    return PosteriorSteps(*collate_steps(samples, num_units=V), V)


def draws(texts, *, seed=0):
    shape = (len(texts), most_rows(max(map(len, texts))), 2)
    return np.random.default_rng(seed).random(shape)


def write(network, texts, numbers, **options):
    return network.write(*batch(texts), numbers, torch.tensor([1, 2])[: len(texts)], **options)


def test_what_is_written_are_rows_of_a_posterior(network):
    for (ids, probs), text in zip(write(network, TEXTS, draws(TEXTS)), TEXTS, strict=True):
        assert ids.shape == probs.shape and 1 <= len(ids) <= most_rows(len(text))
        assert all(len(set(row)) == 4 for row in ids.tolist()) and ids.max() < V
        assert (probs >= 0).all() and (probs.sum(1) <= 1 + 1e-6).all()
        assert (probs[:, :1] >= probs).all()


def test_the_same_draws_write_the_same_and_others_do_not(network):
    first, again, other = (write(network, TEXTS, draws(TEXTS, seed=s)) for s in (0, 0, 1))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    assert any(
        len(a[0]) != len(b[0]) or (a[0] != b[0]).any() for a, b in zip(first, other, strict=True)
    )


def test_a_batch_is_its_texts_one_by_one(network):
    numbers = draws(TEXTS)
    together = write(network, TEXTS, numbers)
    for place, text in enumerate(TEXTS):
        bins = torch.tensor([1, 2])[place : place + 1]
        [(ids, probs)] = network.write(*batch([text]), numbers[place : place + 1], bins)
        np.testing.assert_array_equal(ids, together[place][0])
        np.testing.assert_allclose(probs, together[place][1], atol=1e-5)


def test_writing_with_the_cache_is_predicting_without(network):
    """Teacher forced on what was written, the same numbers draw the same rows."""
    numbers, bins = draws(TEXTS), torch.tensor([1, 2])
    written = write(network, TEXTS, numbers)
    samples = [(torch.from_numpy(ids), torch.from_numpy(probs)) for ids, probs in written]
    steps = PosteriorSteps(*collate_steps(samples, num_units=V), V)
    with torch.no_grad():
        predicted = network(*batch(TEXTS), steps, bins)
    for place, (ids, probs) in enumerate(written):
        for row, (unit, peak) in enumerate(zip(ids[:, 0], probs[:, 0], strict=True)):
            shares = predicted.units[place, row].exp().double()
            if row == 0:
                shares[V] = 0.0
            above = (shares.cumsum(0) / shares.sum()).numpy()
            assert unit == np.searchsorted(above, numbers[place, row, 0])
            chosen = np.searchsorted(
                predicted.peaks[place, row].exp().cumsum(0).numpy(), numbers[place, row, 1]
            )
            assert PEAK_EDGES[chosen] - 1e-5 <= peak <= PEAK_EDGES[chosen + 1] + 1e-5
            beside = predicted.rivals[place, row].exp()[torch.from_numpy(ids[row, 1:])]
            expected = torch.minimum((1 - peak) * beside, torch.tensor(peak))
            np.testing.assert_allclose(probs[row, 1:], expected, atol=1e-5)


def test_the_place_in_a_text_is_found_again_after_errors():
    place = Place.at_start(*batch([[3, 4, 5, 6, 7, 8, 4], [3, 4]]))
    ways = [], []
    # A wrong row, two units left out, a blank, and at last a unit that only earlier places hold.
    for unit in (3, 1, 5, 8, 0, 3):
        place = place.after(torch.tensor([unit, unit]))
        for row, way in enumerate(ways):
            way.append((int(place.spoken[row]), int(place.missed[row])))
    assert ways[0] == [(1, 0), (1, 1), (3, 0), (6, 0), (6, 1), (6, 2)]
    assert ways[1] == [(1, 0), (1, 1), (1, 2), (1, 2), (1, 2), (1, 2)]
    assert place.distances()[0, 0].tolist() == [0, 0, 0, 1, 2, 3, 4]
    assert Place.at_start(*batch([[3] * 6])).distances()[0, 0].tolist() == [4, 5, 6, 7, 7, 7]


def test_a_unit_is_written_or_copied_from_where_the_text_has_it(network):
    network = network.double()
    ids, lengths = batch(TEXTS)
    steps, bins = heard(TEXTS), torch.tensor([1, 2])
    log_units = network(ids, lengths, steps, bins).units
    text, mask = network._encode(ids, lengths, bins)
    fed = torch.cat([network.start.expand(2, 1, -1), network.row(steps)], 1)
    place = Place.along(ids, lengths, steps.unit_ids[..., 0])
    fed += place.embedded(network.text)
    out = network.transformer.decoder(
        inputs_embeds=fed, encoder_hidden_states=text, encoder_attention_mask=mask
    ).last_hidden_state
    for b, units in enumerate(TEXTS):
        for u in range(out.shape[1]):
            shares = network.units(out[b, u]).exp()
            for j, unit in enumerate(units):
                key = network.copies(text[b, 1 + j])
                distance = min(max(j - int(place.spoken[b, u]), -4), 3)
                near = network.near.weight[place.missed[b, u], distance + 4]
                shares[unit] += (network.copied(out[b, u]) @ key / len(key) ** 0.5 + near).exp()
            torch.testing.assert_close(log_units[b, u].exp(), shares / shares.sum())


def test_the_loss_is_that_of_dense_rows(network):
    network, steps = network.double(), heard(TEXTS)
    predicted = network(*batch(TEXTS), steps, torch.tensor([0, 0]))
    loss, stats = simulator_loss(predicted, steps)
    dense = steps.dense().double()
    losses, entropies = [], []
    for place, text in enumerate(TEXTS):
        rows = []
        for row in range(len(text)):
            target = dense[place, row]
            best = int(target.argmax())
            entropy = -(target * predicted.units[place, row, :V]).sum()
            peak = int(np.searchsorted(PEAK_EDGES, float(target[best]), side="right")) - 1
            others = [unit for unit in range(V) if unit != best]
            beside = target[others] / target[others].sum()
            rows.append(
                entropy
                - predicted.peaks[place, row, peak]
                - (beside * predicted.rivals[place, row, others]).sum()
            )
            entropies.append(entropy)
        rows.append(-predicted.units[place, len(text), V])
        losses.append(torch.stack(rows).mean())
    torch.testing.assert_close(loss, torch.stack(losses).mean(), rtol=1e-5, atol=1e-5)
    expected = torch.stack(entropies).mean()
    torch.testing.assert_close(stats["cross_entropy"], expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    assert all(
        p.grad is not None for p in (network.start, network.rivals.weight, network.row.weight)
    )


@pytest.mark.parametrize("peak", [0.9998, 0.99985])
def test_what_half_precision_leaves_beside_a_sure_unit_is_not_learnt(network, peak):
    """Read back, the best unit has 1, or 0.9995, whatever it had."""
    plain = heard(TEXTS, peak=peak)
    stored = replace(plain, probs=plain.probs.half().float())
    assert not torch.equal(plain.probs[..., 0], stored.probs[..., 0])
    losses = []
    for steps in (plain, stored):
        predicted = network(*batch(TEXTS), heard(TEXTS, peak=peak), torch.tensor([0, 0]))
        losses.append(simulator_loss(predicted, steps)[0])
    torch.testing.assert_close(*losses, rtol=5e-3, atol=0.0)


def test_errors_are_learnt_in_their_context(network):
    """Unit 5 is heard as 8 behind 4, and as itself behind 3."""
    texts = ([3, 5], [4, 5], [4, 5, 3, 5])
    spoken = ([3, 5], [4, 8], [4, 8, 3, 5])
    steps = heard(spoken, peak=0.97)
    bins = torch.zeros(3, dtype=torch.long)
    network.train()
    updates = torch.optim.AdamW(network.parameters(), lr=1e-2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(150):
            loss, stats = simulator_loss(network(*batch(texts), steps, bins), steps)
            updates.zero_grad()
            loss.backward()
            updates.step()
    assert stats["agreement"] > 0.9
    network.eval()
    written = network.write(*batch(texts), draws(texts), bins, temperature=0.1)
    assert [ids[:, 0].tolist() for ids, _ in written] == [list(row) for row in spoken]
