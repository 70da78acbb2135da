"""SenseVoiceSmall's units: the pieces of its SentencePiece model, by their own ids.

Id 0 is SentencePiece's ``<unk>`` and the CTC blank at once: a piece of a text that maps to it is
left out and counted, for it would be a step of silence.
"""

from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from espnet_psslm.text.units import WORD_START


class SenseVoiceUnits:
    """Text to CTC unit ids and back; used as ``SentencePieceUnits`` is.

    Args:
        bpemodel: ``chn_jpn_yue_eng_ko_spectok.bpe.model``.

    Raises:
        ValueError: if there is no such file.
    """

    blank_id = 0
    unk_id = 0

    def __init__(self, bpemodel: str | Path) -> None:
        if not Path(bpemodel).is_file():
            raise ValueError(
                f"SentencePiece model {bpemodel} does not exist: --bpemodel is the one in the "
                "folder of SenseVoiceSmall"
            )
        self._model = sentencepiece.SentencePieceProcessor(model_file=str(bpemodel))
        self.num_units: int = self._model.get_piece_size()
        self.tokens = [self._model.id_to_piece(unit) for unit in range(self.num_units)]
        self.num_dropped = 0  # pieces without a unit, in all texts so far

    def encode(self, text: str) -> list[int]:
        """Unit ids of a normalised text; what has no unit is left out."""
        units = self._model.encode(text.strip())
        known = [unit for unit in units if unit != self.blank_id]
        self.num_dropped += len(units) - len(known)
        return known

    def decode(self, unit_ids: Iterable[int]) -> str:
        """Text of unit ids after the CTC collapse; labels such as ``<|en|>`` are left out.

        Raises:
            ValueError: if an id lies outside the vocabulary.
        """
        ids = [int(unit) for unit in unit_ids]
        if outside := [unit for unit in ids if not 0 <= unit < self.num_units]:
            raise ValueError(f"unit id {outside[0]} is outside [0, {self.num_units})")
        return self._model.decode([unit for unit in ids if self._spoken(unit)])

    def unit_texts(self) -> list[str]:
        """Text of each unit as it stands in a sentence; of blank and labels none."""
        return [
            token.replace(WORD_START, " ") if self._spoken(unit) else ""
            for unit, token in enumerate(self.tokens)
        ]

    def _spoken(self, unit: int) -> bool:
        model, token = self._model, self.tokens[unit]
        label = token.startswith("<|") and token.endswith("|>")
        return not (label or model.is_control(unit) or model.is_unknown(unit))
