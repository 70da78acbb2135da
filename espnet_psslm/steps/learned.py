"""A network that says what a CTC model would hear in a text, learnt from what one has heard.

A recogniser's errors depend on their company: some words are confused beside some others, function
words vanish, blanks remain at pauses. An encoder reads the units of a transcript, a decoder writes
one row after the other. Most rows are of the text's next unit: it is told which one that might be,
and may copy units from the text (as CopyNet does, arXiv 1603.06393), so that only errors have to be
learnt unit by unit. It follows TASU2 (arXiv 2604.08384), which feeds back its mean row and so
writes the same rows each time. Here each row is drawn: its best unit, how sure that is, and which
units are beside it.

Legend: B batch, L units of a text, U rows (the end included in training), K listed units, V units.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PegasusConfig, PegasusModel

from espnet_psslm.bridge.sparse_linear import StepsLinear
from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.steps.place import MOST_MISSED, REACH, Place

# Bins of the best unit's probability; those of a CTC model crowd at 1.
PEAK_EDGES = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
NUM_DRAWS = 2  # random numbers a row: for its best unit, and for how sure it is
MAX_POSITIONS = 1024  # units of a text, and rows
# Probability beside the best unit that can be learnt from. Dumped Steps are of half precision,
# which moves a best unit near 1 by up to 0.0005: of less than this, too much would be rounding.
MIN_BESIDE = 0.01
FLOOR = 1e-8  # least probability of a unit, inside logarithms
MOST_ROWS, MORE_ROWS = 2, 10  # at most twice as many rows as units, and ten


@dataclass(frozen=True)
class Predicted:
    """What is said about rows that are there (teacher forced)."""

    units: Tensor  # (B, U, V + 1) log probabilities of units, the last of which is the end
    peaks: Tensor  # (B, U, P) log probabilities of bins, given the true best unit
    rivals: Tensor  # (B, U, V) log probabilities of the units beside it


class LearnedSimulator(nn.Module):
    """Text to rows of a posterior.

    Args:
        num_units: V.
        num_bins: error bins that a text may be asked in; 0: none.
        width: of the network.
        layers: of encoder and decoder, each.
        heads: of attention.
        hidden: width of the feed-forward layers.
        dropout: in training.
        num_listed: K of what is written.
    """

    def __init__(
        self,
        num_units: int,
        *,
        num_bins: int = 0,
        width: int = 192,
        layers: int = 2,
        heads: int = 4,
        hidden: int = 768,
        dropout: float = 0.1,
        num_listed: int = 8,
    ) -> None:
        super().__init__()
        self.num_units = num_units
        self.num_bins = num_bins
        self.num_listed = min(num_listed, num_units)
        self.register_buffer("edges", torch.tensor(PEAK_EDGES), persistent=False)
        self.text = nn.Embedding(num_units, width)
        self.condition = nn.Embedding(1 + num_bins, width)
        self.row = StepsLinear(num_units, width)
        self.start = nn.Parameter(torch.zeros(width))
        config = PegasusConfig(
            vocab_size=1,  # embeddings are given
            d_model=width,
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=hidden,
            decoder_ffn_dim=hidden,
            activation_function="relu",
            dropout=dropout,
            attention_dropout=0.0,
            activation_dropout=0.0,
            max_position_embeddings=MAX_POSITIONS,
            pad_token_id=0,
            eos_token_id=None,
            forced_eos_token_id=None,
        )
        self.transformer = PegasusModel(config)
        self.units = nn.Linear(width, num_units + 1)
        self.copied, self.copies = nn.Linear(width, width), nn.Linear(width, width)
        self.near = nn.Embedding(MOST_MISSED + 1, 2 * REACH)
        self.best = nn.Embedding(num_units + 1, width)
        self.beside = nn.Linear(width, width)
        self.peaks = nn.Linear(width, len(PEAK_EDGES) - 1)
        self.rivals = nn.Linear(width, num_units)

    def forward(
        self, text_ids: Tensor, text_lengths: Tensor, steps: PosteriorSteps, bins: Tensor
    ) -> Predicted:
        """Predict each row from the text and the rows before it.

        Args:
            text_ids: (B, L), units of the transcripts.
            text_lengths: (B,).
            steps: the rows that were heard, best unit first.
            bins: (B,), error bin of each text, ``UNKNOWN_BIN`` or from 1 on.
        """
        heard, mask = self._encode(text_ids, text_lengths, bins)
        best = F.pad(steps.unit_ids[..., 0], (0, 1), value=self.num_units)
        place = Place.along(text_ids, text_lengths, best[:, :-1])
        start = self.start.expand(len(text_ids), 1, -1)
        fed = torch.cat([start, self.row(steps)], 1) + place.embedded(self.text)
        out = self.transformer.decoder(
            inputs_embeds=fed, encoder_hidden_states=heard, encoder_attention_mask=mask
        ).last_hidden_state
        return Predicted(self._units(out, heard, place).log(), *self._beside(out, best))

    @torch.no_grad()
    def write(
        self,
        text_ids: Tensor,
        text_lengths: Tensor,
        draws: np.ndarray,
        bins: Tensor,
        *,
        temperature: float = 1.0,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Draw the rows that might be heard.

        Args:
            text_ids: (B, L).
            text_lengths: (B,), none of them 0.
            draws: (B, ``most_rows(L)``, 2), uniform in [0, 1): all randomness.
            bins: (B,).
            temperature: of the choice of the best unit.

        Returns:
            Per text unit ids (U, K) and probabilities (U, K), best unit first, U at least 1.
        """
        heard, mask = self._encode(text_ids, text_lengths, bins)
        numbers = torch.from_numpy(draws).to(heard)
        place, cache = Place.at_start(text_ids, text_lengths), None
        fed = self.start.expand(len(text_ids), 1, -1)
        limits = most_rows(text_lengths)
        rows: list[tuple[Tensor, Tensor]] = []
        lengths = torch.zeros_like(text_lengths)
        alive = torch.ones_like(text_lengths, dtype=torch.bool)
        while alive.any():
            out = self.transformer.decoder(
                inputs_embeds=fed + place.embedded(self.text),
                encoder_hidden_states=heard,
                encoder_attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
            )
            cache, state = out.past_key_values, out.last_hidden_state[:, -1]
            shares = self._units(state[:, None], heard, place)[:, 0] ** (1 / temperature)
            if not rows:  # an utterance keeps a step, as text keeps a word
                shares[:, self.num_units] = 0.0
            best = _draw(shares, numbers[:, len(rows), 0])
            alive = alive & (best != self.num_units)
            ids, probs = self._row(state, best, numbers[:, len(rows), 1])
            rows.append((ids, probs))
            lengths += alive
            alive = alive & (lengths < limits)
            step = PosteriorSteps(
                ids[:, None], probs[:, None], torch.ones_like(lengths), self.num_units
            )
            fed, place = self.row(step), place.after(best)
        ids, probs = (torch.stack(each, 1).cpu().numpy() for each in zip(*rows, strict=True))
        return [(ids[b, :n], probs[b, :n]) for b, n in enumerate(lengths.tolist())]

    def _encode(
        self, text_ids: Tensor, text_lengths: Tensor, bins: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The text behind its condition: (B, 1 + L, D), and which of it is there."""
        embedded = torch.cat([self.condition(bins)[:, None], self.text(text_ids)], 1)
        places = torch.arange(embedded.shape[1], device=text_ids.device)
        mask = (places <= text_lengths[:, None]).long()
        out = self.transformer.encoder(inputs_embeds=embedded, attention_mask=mask)
        return out.last_hidden_state, mask

    def _units(self, out: Tensor, heard: Tensor, place: Place) -> Tensor:
        """Probabilities of units and of the end (B, U, V + 1).

        A unit is written by itself, or copied from a place of the text: one softmax over both.
        """
        keys = self.copies(heard[:, 1:])
        scores = self.copied(out) @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5
        near = self.near(place.missed).gather(2, place.distances())
        scores = (scores + near).masked_fill(~place.is_text[:, None], -torch.inf)
        both = torch.cat([self.units(out), scores], -1).softmax(-1)
        written, copied = both.split([self.num_units + 1, scores.shape[-1]], -1)
        source = place.text_ids[:, None].expand(copied.shape)
        return written.scatter_add(2, source, copied).clamp_min(FLOOR)

    def _beside(self, out: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities of peak bins, and of the units beside the best one (..., V)."""
        state = torch.tanh(self.beside(out) + self.best(best))
        rivals = self.rivals(state)
        # The end has no rivals, and no unit is its own.
        own = F.one_hot(best, self.num_units + 1)[..., :-1].bool()
        return self.peaks(state).log_softmax(-1), rivals.masked_fill(own, -1e9).log_softmax(-1)

    def _row(self, state: Tensor, best: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and probabilities (B, K) of a row whose best unit is drawn."""
        best = best.clamp_max(self.num_units - 1)  # ended: whatever, it is cut off
        peaks, rivals = self._beside(state, best)
        shares = peaks.exp()
        above = shares.cumsum(-1)
        chosen = (above < number[:, None]).sum(-1).clamp_max(shares.shape[-1] - 1)
        inside = (number - (above - shares).gather(1, chosen[:, None])[:, 0]) / shares.gather(
            1, chosen[:, None]
        )[:, 0].clamp_min(1e-12)
        peak = self.edges[chosen] + inside.clamp(0, 1) * (
            self.edges[chosen + 1] - self.edges[chosen]
        )
        values, ids = rivals.exp().topk(self.num_listed - 1, dim=-1)
        left = (1 - peak)[:, None] * values
        # Best unit first: none beside it is likelier.
        left = torch.minimum(left, peak[:, None])
        return torch.cat([best[:, None], ids], 1), torch.cat([peak[:, None], left], 1)


def most_rows(num_units: Tensor | int) -> Tensor | int:
    """Rows that a text of so many units may have."""
    return MOST_ROWS * num_units + MORE_ROWS


def _draw(shares: Tensor, number: Tensor) -> Tensor:
    """The index whose part of [0, 1] holds the number: (B, N), (B,) to (B,)."""
    above = shares.double().cumsum(-1)
    return (
        (above < number[:, None].double() * above[:, -1:]).sum(-1).clamp_max(shares.shape[-1] - 1)
    )


def simulator_loss(predicted: Predicted, steps: PosteriorSteps) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the rows that were heard: their units, and given the best one the rest.

    Args:
        predicted: by :class:`LearnedSimulator`.
        steps: what was heard.

    Returns:
        The loss, mean over rows of a text and then over texts, and its parts: ``cross_entropy`` of
        the whole rows (the end is a row), ``agreement`` of the likeliest unit with the best one.
    """
    lengths = steps.lengths
    places = torch.arange(predicted.units.shape[1], device=lengths.device)
    is_row = places < lengths[:, None]
    is_end = places == lengths[:, None]
    listed, rest = _parts(steps)
    log_units = predicted.units
    of_rows = -(
        (listed * log_units[:, :-1, :-1].gather(2, steps.unit_ids)).sum(-1)
        + rest * log_units[:, :-1, :-1].sum(-1)
    )
    cross_entropy = F.pad(of_rows, (0, 1)) * is_row - log_units[..., -1] * is_end
    peak = steps.probs[..., 0].clamp(0.0, 1.0 - 1e-6)
    edges = torch.tensor(PEAK_EDGES, device=peak.device)
    bins = torch.bucketize(peak, edges[1:-1], right=True)
    of_peaks = -predicted.peaks[:, :-1].gather(2, bins[..., None])[..., 0]
    beside, beside_rest = _parts(steps, first=1)
    log_rivals = predicted.rivals[:, :-1]
    mass = beside.sum(-1) + beside_rest * (predicted.rivals.shape[-1] - 1)
    of_rivals = -(
        (beside * log_rivals.gather(2, steps.unit_ids[..., 1:])).sum(-1)
        + beside_rest * log_rivals.scatter(2, steps.unit_ids[..., :1], 0.0).sum(-1)
    )
    of_rivals = torch.where(mass < MIN_BESIDE, 0.0, of_rivals / mass.clamp_min(MIN_BESIDE))
    rows = cross_entropy + F.pad((of_peaks + of_rivals), (0, 1)) * is_row
    counts = (lengths + 1).to(rows.dtype)
    loss = (rows.sum(1) / counts).mean()
    likeliest = log_units[:, :-1].argmax(-1) == steps.unit_ids[..., 0]
    total = lengths.sum().clamp_min(1)
    return loss, {
        "cross_entropy": (F.pad(of_rows, (0, 1)) * is_row).sum().detach() / total,
        "agreement": (likeliest & is_row[:, :-1]).sum() / total,
    }


def _parts(steps: PosteriorSteps, *, first: int = 0) -> tuple[Tensor, Tensor]:
    """Of each row what its listed units have beyond ``rest``, and ``rest``."""
    rest = steps.rest.float() * steps.mask
    listed = (steps.probs.float() - rest[..., None])[..., first:] * steps.mask[..., None]
    return listed, rest
