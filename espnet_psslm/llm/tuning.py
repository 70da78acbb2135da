"""What of the language model is trained: nothing, low-rank adapters, or the ends of prefixes."""

from collections.abc import Sequence

from espnet_psslm.llm.frozen import Frozen, Held
from espnet_psslm.llm.lora import LoRA
from espnet_psslm.llm.prefix_attention import NAME, SharedPrefix, serves
from espnet_psslm.llm.prefix_cache import CopiedPrefix, PrefixCache
from espnet_psslm.llm.tuned_prefix import PrefixTuning, TunedPrefix

TUNINGS: dict[str, type[Held]] = {"frozen": Frozen, "lora": LoRA, "prefix": PrefixTuning}


def build_prefix_cache(lm: Held, prefixes: Sequence[Sequence[int]]) -> PrefixCache:
    """The fastest cache that a language model's attention allows.

    Args:
        lm: the language model; its attention implementation may be changed.
        prefixes: token ids of each prompt's prefix.

    Raises:
        ValueError: if prefixes are to be trained behind an attention that only takes copies.
    """
    if not serves(lm.module):
        if isinstance(lm, PrefixTuning):
            raise ValueError(
                f"tuning: prefix does not know the attention of {lm.module.config.model_type} "
                "(sliding window, capped scores or latent keys); set tuning: lora or frozen"
            )
        return CopiedPrefix(prefixes)
    lm.module.set_attn_implementation(NAME)
    if isinstance(lm, PrefixTuning):
        return TunedPrefix(prefixes, lm.module, num_tuned=lm.num_tuned)
    return SharedPrefix(prefixes)
