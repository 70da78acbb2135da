"""Keys and values of the constant prefix of each prompt, computed once.

With a frozen language model they do not depend on anything that is trained: the tokens before
the speech cost one forward pass per prompt in the life of the model.

Legend: B batch, L positions behind the prefix, P prefix positions, H language model width.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GenerationConfig

from espnet_psslm.llm.search_limits import Bounds, search_limits
from espnet_psslm.llm.splice import compact

States = Sequence[tuple[Tensor, Tensor]]  # keys and values of a prefix, per layer


class PrefixCache(nn.Module, ABC):
    """Keys and values of several prefixes, and the language model behind them.

    Args:
        prefixes: token ids of each prompt's prefix; prompts are named by their index here.
    """

    takes_drafts = False  # what was fed may be disowned afterwards (``llm/drafts.py``)

    def __init__(self, prefixes: Sequence[Sequence[int]]) -> None:
        super().__init__()
        if empty := [i for i, prefix in enumerate(prefixes) if not prefix]:
            raise ValueError(f"prompts {empty} have no token before the speech")
        self.prefixes = prefixes
        self.states: dict[int, States] = {}
        self.place: tuple[torch.device, torch.dtype] | None = None
        self.version = 0
        self.read_all = False  # FSDP2, DeepSpeed: processes must make the same calls

    def clear(self) -> None:
        """Forget everything: the language model has moved or changed."""
        self.states.clear()

    def keep_if(self, version: int) -> None:
        """Forget everything unless the language model's weights are those of the last call."""
        if version != self.version:
            self.version = version
            self.clear()

    def move(self, lm: nn.Module) -> None:
        """Note where the language model is; states from elsewhere are forgotten."""
        parameter = next(lm.parameters())
        if self.place != (parameter.device, parameter.dtype):
            self.place = (parameter.device, parameter.dtype)
            self.clear()

    def fill(self, lm: nn.Module, prompts: Sequence[int]) -> None:
        """Make sure that the states of some prompts are there, on the model's device."""
        self.move(lm)
        wanted = set(range(len(self.prefixes)) if self.read_all else prompts)
        for prompt in sorted(wanted - self.states.keys()):
            self.states[prompt] = self._compute(lm.get_decoder(), prompt)

    @torch.no_grad()
    def _compute(self, decoder: nn.Module, prompt: int) -> States:
        ids = torch.tensor([self.prefixes[prompt]], device=self.place[0])
        cache = decoder(input_ids=ids, past_key_values=DynamicCache(), use_cache=True)
        # (1, heads, P, head width) per layer
        return [(layer.keys, layer.values) for layer in cache.past_key_values.layers]

    def states_of(self, prompt: int) -> States:
        """Keys and values (1, heads, P, head width) per layer of a prompt that is filled in."""
        return self.states[prompt]

    def lengths(self, prompts: Sequence[int]) -> Tensor:
        """(B, 1), P of each row, on the model's device."""
        lengths = torch.tensor([[len(self.prefixes[prompt])] for prompt in prompts])
        return lengths.to(self.place[0])

    def forward_uncached(
        self, lm: nn.Module, embeddings: Tensor, mask: Tensor, prompts: Sequence[int]
    ) -> Tensor:
        """``forward`` for a language model in training: gradients reach the prefix too."""
        whole, real = self._with_prefix(lm, embeddings, mask, prompts, pad_left=False)
        hidden = lm.get_decoder()(
            inputs_embeds=whole, attention_mask=real.long(), use_cache=False
        ).last_hidden_state
        lengths = torch.tensor([[len(self.prefixes[prompt])] for prompt in prompts])
        place = lengths.to(mask.device) + torch.arange(mask.shape[1], device=mask.device)
        place = place.clamp_max(whole.shape[1] - 1)  # padding lies behind the longest row's end
        return hidden.gather(1, place[..., None].expand(-1, -1, hidden.shape[2]))

    def _with_prefix(
        self,
        lm: nn.Module,
        embeddings: Tensor,
        mask: Tensor,
        prompts: Sequence[int],
        *,
        pad_left: bool,
    ) -> tuple[Tensor, Tensor]:
        """Whole sequences, prefix included, and their mask."""
        ids = [torch.tensor(self.prefixes[prompt], device=embeddings.device) for prompt in prompts]
        lengths = torch.tensor([len(row) for row in ids], device=embeddings.device)
        tokens = nn.utils.rnn.pad_sequence(ids, batch_first=True)
        whole = torch.cat([lm.get_input_embeddings()(tokens), embeddings], 1)
        real = torch.arange(tokens.shape[1], device=embeddings.device) < lengths[:, None]
        return compact(whole, torch.cat([real, mask], 1), pad_left=pad_left)

    @abstractmethod
    def forward(
        self, lm: nn.Module, embeddings: Tensor, mask: Tensor, prompts: Sequence[int]
    ) -> Tensor:
        """Hidden states behind the prefixes.

        Args:
            lm: the language model.
            embeddings: (B, L, H), right-padded.
            mask: (B, L), true on real positions.
            prompts: (B,), prompt of each row. A plain sequence: no device is asked.

        Returns:
            (B, L, H); padding is meaningless.
        """

    @abstractmethod
    def generate(
        self,
        lm: nn.Module,
        embeddings: Tensor,
        mask: Tensor,
        prompts: Sequence[int],
        config: GenerationConfig,
        bounds: Bounds,
    ) -> object:
        """What ``lm.generate`` makes of left-padded sequences behind the prefixes.

        Arguments as in ``forward``; ``config`` sets the search, ``bounds`` what each row may
        answer.
        """


class CopiedPrefix(PrefixCache):
    """A cache as transformers keeps it, a copy of the prefix for every row: any model takes it."""

    def gather(self, lm: nn.Module, prompts: Sequence[int]) -> tuple[DynamicCache, Tensor]:
        """A cache for a batch, each row with its own prompt's prefix, padded on the left.

        Returns:
            The cache, of the longest prefix' length P, and its mask (B, P), 1 on real tokens.
        """
        self.fill(lm, prompts)
        longest = max(len(self.prefixes[prompt]) for prompt in prompts)
        mask = torch.arange(longest, device=self.place[0]) >= longest - self.lengths(prompts)
        cache = DynamicCache()
        for layer in range(len(self.states[prompts[0]])):
            keys, values = (
                self._rows([self.states[prompt][layer][part] for prompt in prompts], longest)
                for part in range(2)
            )
            cache.update(keys, values, layer)
        return cache, mask.long()

    @staticmethod
    def _rows(states: list[Tensor], longest: int) -> Tensor:
        if all(state is states[0] for state in states):
            return states[0].expand(len(states), -1, -1, -1)
        return torch.cat([nn.functional.pad(s, (0, 0, longest - s.shape[2], 0)) for s in states])

    def forward(
        self, lm: nn.Module, embeddings: Tensor, mask: Tensor, prompts: Sequence[int]
    ) -> Tensor:
        """As the base class says."""
        cache, prefix_mask = self.gather(lm, prompts)
        return lm.get_decoder()(
            inputs_embeds=embeddings,
            attention_mask=torch.cat([prefix_mask, mask.long()], 1),
            position_ids=self.lengths(prompts) + torch.arange(mask.shape[1], device=mask.device),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state

    def generate(
        self,
        lm: nn.Module,
        embeddings: Tensor,
        mask: Tensor,
        prompts: Sequence[int],
        config: GenerationConfig,
        bounds: Bounds,
    ) -> object:
        """As the base class says; the prefix is read again.

        Behind a cached prefix the padding would stand between prefix and speech, where a sliding
        window counts it.
        """
        whole, mask = self._with_prefix(lm, embeddings, mask, prompts, pad_left=True)
        return lm.generate(
            inputs_embeds=whole,
            attention_mask=mask.long(),
            generation_config=config,
            logits_processor=search_limits(bounds, config),
        )
