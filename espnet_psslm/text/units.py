"""CTC units: the vocabulary of the acoustic model.

``tokens.txt`` holds one unit a line: ``<blank>`` first, ``<unk>``, the pieces, ``<sos/eos>`` last.
ESPnet's ASR task needs exactly that; the CTC layer is as wide as the file has lines.

:class:`Units` is what the package knows of a vocabulary; :func:`espnet_psslm.text.vocabulary.
build_units` makes the one that a configuration names.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path

import sentencepiece

from espnet_psslm.common.archive import what_it_is
from espnet_psslm.common.errors import reading
from espnet_psslm.common.files import check_file
from espnet_psslm.common.lines import read_lines

BLANK = "<blank>"
UNK = "<unk>"
SOS_EOS = "<sos/eos>"
WORD_START = "\u2581"  # SentencePiece's mark of a word's first piece
NUM_SPECIAL_PIECES = 3  # SentencePiece's <unk>, <s>, </s>: as many as our <blank>, <unk>, <sos/eos>


def train_sentencepiece(
    sentences: Sequence[str], *, vocab_size: int, model_type: str, **options: object
) -> bytes:
    """Train a SentencePiece model on normalised text.

    Args:
        sentences: normalised text; the same text gives the same bytes.
        vocab_size: number of pieces, special ones included.
        model_type: SentencePiece's: "unigram", "bpe", "char".
        options: further ones of SentencePiece's trainer.

    Returns:
        The serialised model.

    Raises:
        RuntimeError, OSError: SentencePiece's own, if the text does not admit so many pieces.
    """
    buffer = BytesIO()  # not a path: the model would carry it
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=buffer,
        vocab_size=vocab_size,
        model_type=model_type,
        character_coverage=1.0,
        normalization_rule_name="identity",  # the text is normalised; ids must not depend on it
        num_threads=1,  # same text, same bytes
        minloglevel=2,
        **options,
    )
    return buffer.getvalue()


def load_sentencepiece(
    path: str | Path, *, option: str = "--bpemodel"
) -> sentencepiece.SentencePieceProcessor:
    """Load a SentencePiece model.

    Args:
        path: the file.
        option: that names it, for the message.

    Raises:
        ValueError: naming the file, if it is missing or something else.
    """
    check_file(path, option="SentencePiece model", fix="run stage 5")
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        stray = what_it_is(path) or "no SentencePiece model; run stage 5 to make it"
        raise ValueError(f"{option} {path}: is {stray}") from error


def piece_token_list(model_bytes: bytes) -> list[str]:
    """The units of a SentencePiece model: its pieces but for unknown and control ones."""
    model = sentencepiece.SentencePieceProcessor(model_proto=model_bytes)
    return [
        BLANK,
        UNK,
        *(
            model.id_to_piece(piece_id)
            for piece_id in range(model.get_piece_size())
            if not model.is_control(piece_id) and not model.is_unknown(piece_id)
        ),
        SOS_EOS,
    ]


def read_token_list(path: str | Path) -> list[str]:
    """Read ``tokens.txt``.

    Args:
        path: file with one unit a line.

    Returns:
        The units, in order of their ids.

    Raises:
        ValueError: if the file is missing or no UTF-8, or :func:`check_tokens` refuses the units.
    """
    check_file(path, option="token list", fix="run stage 5 to make it")
    units = [line for _, line in read_lines(path)]
    while units and not units[-1]:
        units.pop()
    with reading(path):
        check_tokens(units)
    return units


class Units(ABC):
    """Text to CTC unit ids and back. Blank is unit 0 in every vocabulary.

    Args:
        token_list: the units, or the file that lists them (see the module's text).

    Raises:
        ValueError: if the file is missing, the special units are not where they must be, or a
            unit is listed twice.
    """

    blank_id = 0

    def __init__(self, token_list: str | Path | list[str] | tuple[str, ...]) -> None:
        self.tokens = (
            list(token_list)
            if isinstance(token_list, list | tuple)
            else read_token_list(token_list)
        )
        check_tokens(self.tokens)
        self.num_units = len(self.tokens)
        self.unk_id = self.tokens.index(UNK)
        self._specials = {self.blank_id, self.unk_id, self.num_units - 1}

    def encode(self, text: str) -> list[int]:
        """Split a normalised text into units.

        Args:
            text: normalised text; white space at the ends does not matter.

        Returns:
            Unit ids. What the vocabulary cannot write becomes ``unk_id``.

        Raises:
            ValueError: if ``text`` is not a string.
        """
        if not isinstance(text, str):
            raise ValueError(f"text must be a string, got {type(text).__name__}: {text!r}")
        return self._encode(text.strip())

    def encode_known(self, text: str) -> list[int]:
        """``encode`` without what the vocabulary cannot write, for which CTC has no step."""
        return [unit for unit in self.encode(text) if unit != self.unk_id]

    def decode(self, unit_ids: Iterable[int]) -> str:
        """Join units to a text; blank, unknown and sos/eos are left out.

        Args:
            unit_ids: ids in [0, ``num_units``), after the CTC collapse.

        Returns:
            The text.

        Raises:
            ValueError: if an id lies outside the vocabulary.
        """
        return self._decode(list(self._plain(unit_ids)))

    def _plain(self, unit_ids: Iterable[int]) -> Iterator[int]:
        for unit_id in map(int, unit_ids):
            if not 0 <= unit_id < self.num_units:
                raise ValueError(f"unit id {unit_id} is outside [0, {self.num_units})")
            if unit_id not in self._specials:
                yield unit_id

    @abstractmethod
    def _encode(self, text: str) -> list[int]:
        """``encode`` of a stripped text."""

    @abstractmethod
    def _decode(self, unit_ids: list[int]) -> str:
        """``decode`` of ids that are inside the vocabulary and not special."""

    @abstractmethod
    def unit_texts(self) -> list[str]:
        """Text of each unit as it stands in a sentence.

        Returns:
            One string a unit, e.g. " turn" for "\u2581turn"; special units give "".
        """


class SentencePieceUnits(Units):
    """The pieces of a SentencePiece model.

    Args:
        token_list: the units, or the file that lists them (see the module's text).
        bpemodel: SentencePiece model whose pieces the units are.

    Raises:
        ValueError: as :class:`Units`; if the model is missing, or has a piece that is no unit.
    """

    def __init__(
        self, token_list: str | Path | list[str] | tuple[str, ...], *, bpemodel: str | Path
    ) -> None:
        super().__init__(token_list)
        self._model = load_sentencepiece(bpemodel)
        self._unit_of_piece = self._map_pieces(bpemodel)
        self._piece_of_unit = {
            unit: piece for piece, unit in enumerate(self._unit_of_piece) if unit != self.unk_id
        }

    def _map_pieces(self, bpemodel: str | Path) -> list[int]:
        """Unit id of each piece id of the model."""
        index = {token: unit_id for unit_id, token in enumerate(self.tokens)}
        mapping = []
        for piece_id in range(self._model.get_piece_size()):
            if self._model.is_control(piece_id) or self._model.is_unknown(piece_id):
                mapping.append(self.unk_id)
                continue
            piece = self._model.id_to_piece(piece_id)
            if piece not in index:
                raise ValueError(
                    f"piece {piece!r} of {bpemodel} is not in the token list: "
                    "both must come from one run of stage 5"
                )
            mapping.append(index[piece])
        return mapping

    def _encode(self, text: str) -> list[int]:
        return [self._unit_of_piece[piece_id] for piece_id in self._model.encode(text)]

    def _decode(self, unit_ids: list[int]) -> str:
        return self._model.decode([self._piece_of_unit[unit_id] for unit_id in unit_ids])

    def unit_texts(self) -> list[str]:
        return [
            "" if unit_id in self._specials else token.replace(WORD_START, " ")
            for unit_id, token in enumerate(self.tokens)
        ]


def check_tokens(tokens: list[str]) -> None:
    """Raise ValueError unless the specials are in place and every unit is listed once."""
    if len(tokens) < 4 or tokens[0] != BLANK or tokens[-1] != SOS_EOS or UNK not in tokens:
        raise ValueError(
            f"token list must start with {BLANK}, hold {UNK} and at least one piece, and end in "
            f"{SOS_EOS}; got {len(tokens)} units, first {tokens[:2]}, last {tokens[-1:]}"
        )
    if len(set(tokens)) != len(tokens):
        twice = sorted(token for token, count in Counter(tokens).items() if count > 1)
        raise ValueError(f"token list holds {twice[:3]} more than once: every unit needs one line")
