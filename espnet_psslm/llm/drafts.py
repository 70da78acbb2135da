"""Greedy answers from drafts: one pass checks many tokens (speculative decoding without a model).

What CTC heard is nearly the transcript. Its text, in the language model's tokens, is a draft: one
pass gives the likeliest token at each of its places. Those up to the first that differs are the
greedy answer, and so is the token found there in place of the draft's. The rest of the draft is
aligned with what is written by then, and is checked next. A draft can only change how many passes
it takes, never the answer.

Legend: B rows, L positions of a context, Q tokens fed in a pass, T all positions so far, H width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from espnet_psslm.llm.answers import Answer
from espnet_psslm.llm.prefix_attention import SharedPrefix, behind


@dataclass(frozen=True)
class Drafts:
    """What the answers of a batch might be."""

    token_ids: Sequence[Sequence[int]]  # (B,), without the end of turn; empty: nothing is known
    begins_word: Callable[[int], bool]  # whether a token begins a word

    def answers(
        self, rows: Sequence[int], *, longest: int, limits: Tensor | None, end_id: int
    ) -> "list[Written]":
        """Answers to some rows of the batch, of which nothing is written yet.

        Args:
            rows: their places.
            longest: tokens of an answer, end of turn included.
            limits: (len(rows),), tokens of each, the last of which is the end of turn; None: there
                are no such limits.
            end_id: the end of turn.
        """
        of_row = [None] * len(rows) if limits is None else limits.tolist()
        return [
            Written([*ids, end_id] if (ids := self.token_ids[row]) else [], longest, limit, end_id)
            for row, limit in zip(rows, of_row, strict=True)
        ]


@dataclass
class Written:
    """The answer to one row, as far as it is known."""

    draft: Sequence[int]  # end of turn included; empty: none
    longest: int  # tokens, end of turn included
    limit: int | None  # the last place is given to the end of turn; None: it is not
    end_id: int
    token_ids: list[int] = field(default_factory=list)
    log_prob: float = 0.0
    is_done: bool = False

    def proposal(self, begins_word: Callable[[int], bool]) -> list[int]:
        """Tokens of the draft that may follow."""
        start = resume(self.draft, self.token_ids, begins_word=begins_word)
        return list(self.draft[start : start + self.longest - len(self.token_ids)])

    def check(self, proposal: Sequence[int], best: Sequence[int], log_probs: Tensor) -> int:
        """Write on.

        Args:
            proposal: tokens that were fed.
            best: likeliest token in place of each of these, and after the last.
            log_probs: (len(best), tokens).

        Returns:
            How many tokens of the proposal are the answer's.
        """
        for place, token in enumerate(best):
            if self.limit is not None and len(self.token_ids) + 1 >= self.limit:
                token = self.end_id
            self.token_ids.append(token)
            self.log_prob += float(log_probs[place, token])
            self.is_done = token == self.end_id or len(self.token_ids) == self.longest
            if self.is_done or place == len(proposal) or token != proposal[place]:
                return place
        raise AssertionError("best has a token more than the proposal")

    def answer(self) -> Answer:
        """What was written."""
        ended = self.token_ids[-1] == self.end_id
        text = self.token_ids[:-1] if ended else self.token_ids
        return Answer(tuple(text), self.log_prob, len(self.token_ids))


def resume(
    draft: Sequence[int], written: Sequence[int], *, begins_word: Callable[[int], bool]
) -> int:
    """The place at which a draft goes on after what is written.

    Args:
        draft: token ids.
        written: token ids.
        begins_word: of a token.

    Returns:
        The end of the beginning of the draft that is closest to ``written`` in edit distance. Of
        equally close ones that which ends in the same token, then that before a word, then that of
        the likest length.
    """
    above = list(range(len(draft) + 1))  # distances of nothing to each beginning
    for row, token in enumerate(written, 1):
        here = [row]
        for place, drafted in enumerate(draft):
            change = above[place] + (token != drafted)
            here.append(min(change, above[place + 1] + 1, here[place] + 1))
        above = here

    def rank(place: int) -> tuple[int, bool, bool, int]:
        other = not (place and written and draft[place - 1] == written[-1])
        inside = place < len(draft) and not begins_word(draft[place])
        return above[place], other, inside, abs(place - len(written))

    return min(range(len(draft) + 1), key=rank)


@torch.no_grad()
def answer_by_drafts(
    lm: nn.Module,
    prefixes: SharedPrefix,
    embeddings: Tensor,
    mask: Tensor,
    prompts: Sequence[int],
    rows: Sequence[Written],
    *,
    begins_word: Callable[[int], bool],
) -> int:
    """Write the greedy answers of a batch into ``rows``.

    Args:
        lm: the language model.
        prefixes: constant prefixes of the prompts.
        embeddings: (B, L, H), left-padded: all between prefix and answer.
        mask: (B, L), true on real positions.
        prompts: (B,), prompt of each row.
        rows: (B,), drafts and limits.
        begins_word: whether a token begins a word.

    Returns:
        Passes through the language model.
    """
    prefixes.fill(lm, prompts)
    order, _ = prefixes.groups(prompts)
    active = order.tolist()  # rows of one prompt lie together
    lengths = prefixes.lengths(prompts)  # (B, 1)
    embed = lm.get_input_embeddings()
    cache, num_passes = DynamicCache(), 0
    fed, fed_mask = embeddings[order], mask[order]
    known = mask.new_zeros(len(active), 0)  # (B, T), which positions of the cache count
    while True:
        proposals = [rows[row].proposal(begins_word) for row in active]
        tokens, real = _padded(proposals, like=fed_mask)
        fed = torch.cat([fed, embed(tokens)], 1)
        fed_mask = torch.cat([fed_mask, real], 1)
        known = torch.cat([known, fed_mask], 1)
        positions = lengths[active] + known.long().cumsum(1) - 1
        _, groups = prefixes.groups([prompts[row] for row in active])
        # Places and not their number: a slice of the states would make the output layer copy its
        # weights for each row.
        wanted = torch.arange(-tokens.shape[1] - 1, 0, device=known.device) + fed.shape[1]
        with behind(groups):
            output = lm(
                inputs_embeds=fed,
                attention_mask=known.long(),
                position_ids=positions[:, -fed.shape[1] :].clamp_min(0),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=wanted,
            )
        num_passes += 1
        log_probs = output.logits.float().log_softmax(-1)
        best = output.logits.argmax(-1).tolist()
        first = known.shape[1] - tokens.shape[1]
        for place, (row, proposal) in enumerate(zip(active, proposals, strict=True)):
            accepted = rows[row].check(proposal, best[place][: len(proposal) + 1], log_probs[place])
            known[place, first + accepted :] = False
        kept = [place for place, row in enumerate(active) if not rows[row].is_done]
        if not kept:
            return num_passes
        places = torch.tensor(kept, device=known.device)
        cache.batch_select_indices(places)
        known, active = known[places], [active[place] for place in kept]
        last = torch.tensor([[rows[row].token_ids[-1]] for row in active], device=known.device)
        fed, fed_mask = embed(last), known.new_ones(last.shape)


def _padded(rows: Sequence[Sequence[int]], *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids (B, Q), 0 where a row has none, and which are real."""
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    tokens = pad_sequence(tensors, batch_first=True).to(like.device)
    lengths = torch.tensor([len(row) for row in rows], device=like.device)
    return tokens, torch.arange(tokens.shape[1], device=like.device) < lengths[:, None]
