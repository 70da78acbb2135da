"""Keys and values of the constant prefix of each prompt, computed once.

With a frozen language model they do not depend on anything that is trained: the tokens before
the speech cost one forward pass per prompt in the life of the model, in training and decoding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from espnet_psslm.llm.prefix_attention import PrefixGroup


class PrefixCache:
    """Keys and values of several prefixes, ready to be continued by a batch.

    Args:
        prefixes: token ids of each prompt's prefix; prompts are named by their index here.
    """

    def __init__(self, prefixes: Sequence[Sequence[int]]) -> None:
        if empty := [i for i, prefix in enumerate(prefixes) if not prefix]:
            raise ValueError(f"prompts {empty} have no token before the speech")
        self.prefixes = prefixes
        self.states: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self.place: tuple[torch.device, torch.dtype] | None = None

    def clear(self) -> None:
        """Forget everything: the weights of the language model have changed."""
        self.states.clear()

    @torch.no_grad()
    def _compute(self, decoder: nn.Module, index: int) -> list[tuple[Tensor, Tensor]]:
        ids = torch.tensor([self.prefixes[index]], device=self.place[0])
        cache = decoder(input_ids=ids, past_key_values=DynamicCache(), use_cache=True)
        # (1, heads, length, head width) per layer
        return [(layer.keys, layer.values) for layer in cache.past_key_values.layers]

    def _fill(self, decoder: nn.Module, index: Sequence[int]) -> Tensor:
        parameter = next(decoder.parameters())
        if self.place != (parameter.device, parameter.dtype):
            self.place = (parameter.device, parameter.dtype)
            self.clear()
        for prompt in set(index) - self.states.keys():
            self.states[prompt] = self._compute(decoder, prompt)
        return parameter

    def groups(
        self, decoder: nn.Module, index: Sequence[int]
    ) -> tuple[list[int], list[PrefixGroup]]:
        """The order of rows that brings those of one prompt together, and their prefixes.

        Args:
            decoder: the frozen decoder of the language model.
            index: (B,), prompt of each row. A plain sequence: no device is asked.
        """
        self._fill(decoder, index)
        order = sorted(range(len(index)), key=index.__getitem__)
        groups, start = [], 0
        for prompt in sorted(set(index)):
            stop = start + index.count(prompt)
            groups.append(PrefixGroup(slice(start, stop), self.states[prompt]))
            start = stop
        return order, groups

    def gather(self, decoder: nn.Module, index: Sequence[int]) -> tuple[DynamicCache, Tensor]:
        """A cache for a batch, each row with its own prompt's prefix, padded on the left.

        Args:
            decoder: the frozen decoder of the language model.
            index: (B,), prompt of each row. A plain sequence: no device is asked.

        Returns:
            The cache, of length P, and its mask (B, P), 1 on real prefix tokens.
        """
        parameter = self._fill(decoder, index)
        longest = max(len(self.prefixes[prompt]) for prompt in index)
        lengths = torch.tensor([len(self.prefixes[prompt]) for prompt in index])
        mask = torch.arange(longest) >= longest - lengths[:, None]
        cache = DynamicCache()
        for layer in range(len(self.states[index[0]])):
            keys, values = (
                self._rows([self.states[prompt][layer][part] for prompt in index], longest)
                for part in range(2)
            )
            cache.update(keys, values, layer)
        return cache, mask.long().to(parameter.device)

    @staticmethod
    def _rows(states: list[Tensor], longest: int) -> Tensor:
        if all(state is states[0] for state in states):
            return states[0].expand(len(states), -1, -1, -1)
        return torch.cat(
            [nn.functional.pad(s, (0, 0, longest - s.shape[2], 0)) for s in states]
        )
