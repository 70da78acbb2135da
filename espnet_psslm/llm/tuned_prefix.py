"""Prefix tuning of a frozen language model (Li and Liang, arXiv 2101.00190).

Every prompt's constant prefix is in the cache as keys and values. Here the last N positions of
each are trained, starting from what the prompt's own tokens gave: each task gets weights of its
own, where the projector's are shared by all, and a step costs what it costs without.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from espnet_psslm.llm.frozen import Frozen
from espnet_psslm.llm.prefix_attention import SharedPrefix
from espnet_psslm.llm.prefix_cache import States


class PrefixTuning(Frozen):
    """A frozen language model whose cached prefixes are trained.

    Args:
        module: Hugging Face causal language model.
        num_tuned: N, positions of each prefix, counted from its end.

    Raises:
        ValueError: if N is not positive.
    """

    def __init__(self, module: nn.Module, *, num_tuned: int = 64) -> None:
        super().__init__(module)
        if num_tuned < 1:
            raise ValueError(f"tuning_conf.num_tuned ({num_tuned}) must be at least 1")
        self.num_tuned = num_tuned


class TunedPrefix(SharedPrefix):
    """Shared prefixes, the ends of which are parameters.

    Args:
        prefixes: token ids of each prompt's prefix.
        lm: what computes the states that training starts from.
        num_tuned: N.
    """

    def __init__(self, prefixes: Sequence[Sequence[int]], lm: nn.Module, *, num_tuned: int) -> None:
        super().__init__(prefixes)
        self.num_tuned = num_tuned
        prompts = range(len(prefixes))
        self.fill(lm, prompts)
        # Per prompt (2, layers, K, N, d): keys and values, in single precision at least.
        self.tuned = nn.ParameterList(nn.Parameter(self._ends(prompt)) for prompt in prompts)

    def _ends(self, prompt: int) -> Tensor:
        ends = [
            torch.stack([states[0, :, -self.num_tuned :] for states in layer])
            for layer in self.states[prompt]
        ]
        ends = torch.stack(ends, 1)
        return ends.to(torch.promote_types(ends.dtype, torch.float32))

    def states_of(self, prompt: int) -> States:
        """The constant beginning and the trained end of a prefix, per layer."""
        tuned = self.tuned[prompt].to(self.place[1])
        start = len(self.prefixes[prompt]) - tuned.shape[3]
        return [
            tuple(
                torch.cat([states[:, :, :start], end[None]], 2)
                for states, end in zip(layer, ends, strict=True)
            )
            for layer, ends in zip(self.states[prompt], tuned.unbind(1), strict=True)
        ]
