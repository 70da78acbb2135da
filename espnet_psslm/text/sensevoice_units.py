"""SenseVoiceSmall's units: the pieces of its SentencePiece model, by their own ids.

Id 0 is SentencePiece's ``<unk>`` and the CTC blank at once: a piece of a text that maps to it is
left out and counted, for it would be a step of silence.
"""

from pathlib import Path

from espnet_psslm.text.units import WORD_START, Units, load_sentencepiece


class SenseVoiceUnits(Units):
    """The vocabulary of SenseVoiceSmall; labels such as ``<|en|>`` have no text.

    Args:
        bpemodel: ``chn_jpn_yue_eng_ko_spectok.bpe.model``.

    Raises:
        ValueError: if there is no such file.
    """

    def __init__(self, bpemodel: str | Path) -> None:
        # Not Units': its special units stand elsewhere.
        if not Path(bpemodel).is_file():
            raise ValueError(
                f"SentencePiece model {bpemodel} does not exist: --bpemodel is the one in the "
                "folder of SenseVoiceSmall"
            )
        model = load_sentencepiece(bpemodel)
        self._model = model
        self.num_units: int = model.get_piece_size()
        self.tokens = [model.id_to_piece(unit) for unit in range(self.num_units)]
        self.unk_id = self.blank_id
        self._specials = {
            unit
            for unit, token in enumerate(self.tokens)
            if model.is_control(unit)
            or model.is_unknown(unit)
            or (token.startswith("<|") and token.endswith("|>"))
        }
        self.num_dropped = 0  # pieces without a unit, in all texts so far

    def _encode(self, text: str) -> list[int]:
        units = self._model.encode(text)
        known = [unit for unit in units if unit != self.blank_id]
        self.num_dropped += len(units) - len(known)
        return known

    def _decode(self, unit_ids: list[int]) -> str:
        return self._model.decode(unit_ids)

    def unit_texts(self) -> list[str]:
        return [
            "" if unit in self._specials else token.replace(WORD_START, " ")
            for unit, token in enumerate(self.tokens)
        ]
