"""CTC units that are phones: text is pronounced by espeak-ng, through ``phonemizer``.

One way only: text becomes phones, phones become no text. What decoding gives are the phones, with a
space between them, to be scored against :meth:`PhoneUnits.pronounce` of the reference.

espeak-ng knows over a hundred languages, from rules and exception lists. Its Mandarin reads
characters with tones and little context: of a character with several readings it may take the
wrong one.
"""

import logging
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_psslm.text.units import BLANK, SOS_EOS, UNK, Units

if TYPE_CHECKING:
    from phonemizer.backend import EspeakBackend

PHONE_GAP, WORD_GAP = " ", "|"


class Pronouncer:
    """Text to phones of one language, without stress marks.

    Args:
        language: espeak-ng's name: ``en-us``, ``de``, ``cmn``, ...
    """

    def __init__(self, language: str) -> None:
        self.language = language

    @cached_property
    def _backend(self) -> "EspeakBackend":
        try:
            import espeakng_loader
            from phonemizer.backend import EspeakBackend
            from phonemizer.backend.espeak.wrapper import EspeakWrapper
        except ImportError as error:
            raise ValueError(
                f"phone units need {error.name}: pip install 'espnet_psslm[phones]'"
            ) from error
        EspeakWrapper.set_library(espeakng_loader.get_library_path())
        EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
        quiet = logging.getLogger("espnet_psslm.phonemizer")
        quiet.setLevel(logging.ERROR)  # it warns of every foreign word
        try:
            return EspeakBackend(
                self.language,
                with_stress=False,
                language_switch="remove-flags",
                words_mismatch="ignore",
                logger=quiet,
            )
        except RuntimeError as error:
            known = ", ".join(sorted(EspeakBackend.supported_languages()))
            raise ValueError(
                f"espeak-ng has no language '{self.language}'; set --phone_language to one of "
                f"{known}"
            ) from error

    def __call__(self, text: str) -> list[str]:
        """Phones of a text, in order.

        Raises:
            ValueError: if the libraries are not installed or the language is unknown.
        """
        from phonemizer.separator import Separator

        gaps = Separator(phone=PHONE_GAP, word=WORD_GAP, syllable="")
        # Its own split of lines and warnings of empty ones are of no use for one sentence.
        pronounced = self._backend.phonemize([text], separator=gaps, strip=True) if text else []
        return "".join(pronounced).replace(WORD_GAP, PHONE_GAP).split()


def phone_token_list(sentences: Iterable[str], *, language: str) -> list[str]:
    """The phones of a text, sorted."""
    pronounce = Pronouncer(language)
    phones = sorted({phone for sentence in sentences for phone in pronounce(sentence)})
    return [BLANK, UNK, *phones, SOS_EOS]


class PhoneUnits(Units):
    """Phones of a text's pronunciation; there is no way back to the text.

    Args:
        token_list: the units, or the file that lists them.
        language: see :class:`Pronouncer`.
    """

    def __init__(
        self, token_list: str | Path | list[str] | tuple[str, ...], *, language: str
    ) -> None:
        super().__init__(token_list)
        self._pronounce = Pronouncer(language)
        self._index = {token: unit_id for unit_id, token in enumerate(self.tokens)}

    def pronounce(self, text: str) -> str:
        """Phones of a text with a space between them, as :meth:`decode` writes them."""
        return " ".join(self._pronounce(text))

    def _encode(self, text: str) -> list[int]:
        return [self._index.get(phone, self.unk_id) for phone in self._pronounce(text)]

    def _decode(self, unit_ids: list[int]) -> str:
        return " ".join(self.tokens[unit_id] for unit_id in unit_ids)

    def unit_texts(self) -> list[str]:
        """See :meth:`Units.unit_texts`: a phone has none."""
        return [""] * self.num_units
