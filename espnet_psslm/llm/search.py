"""How answers are searched for."""

from dataclasses import dataclass

from transformers import GenerationConfig


@dataclass(frozen=True)
class Search:
    """Options of the search.

    Raises:
        ValueError: if a number has no sense.
    """

    beam_size: int = 4  # beams; 1 is greedy
    nbest: int = 1  # answers per sample, at most ``beam_size``
    max_new_tokens: int = 64  # longest answer, end of turn included
    max_len_ratio: float = 0.0  # longest answer in tokens per step heard; 0: no such limit

    def __post_init__(self) -> None:
        for name in ("beam_size", "max_new_tokens", "nbest"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} ({value}) must be at least 1")
        if self.nbest > self.beam_size:
            raise ValueError(f"nbest ({self.nbest}) must not exceed beam_size ({self.beam_size})")
        if self.max_len_ratio < 0:
            raise ValueError(f"max_len_ratio ({self.max_len_ratio}) must not be negative")

    def config(self, *, max_new_tokens: int, end_id: int, pad_id: int) -> GenerationConfig:
        """The same for ``generate``.

        Args:
            max_new_tokens: longest answer of the batch.
            end_id: token that ends an answer.
            pad_id: token behind it.
        """
        return GenerationConfig(
            num_beams=self.beam_size,
            num_return_sequences=self.nbest,
            max_new_tokens=max_new_tokens,
            # Sums, as in ESPnet: a mean over tokens rewards an answer that repeats itself for ever.
            length_penalty=0.0,
            do_sample=False,
            eos_token_id=end_id,
            pad_token_id=pad_id,
            return_dict_in_generate=True,
            output_scores=self.beam_size > 1,
            output_logits=self.beam_size == 1,
        )
