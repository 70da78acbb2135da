"""CTC units that are the tokens of a Hugging Face tokenizer, all of them or those that occur.

The whole vocabulary keeps the tokenizer's order: unit = token id + 1, because unit 0 is the blank
while token 0 is a token like any other ("!" of Qwen). ESPnet's own ``token_type: hugging_face``
uses raw token ids and so loses token 0.

In the token list white space and backslashes inside a token are escaped (``\\u000a``): one unit is
one line there, and ESPnet strips lines. An id that the tokenizer gives to no token, and so the
model behind it has a row for, is ``<unused:ID>``.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_psslm.text.units import BLANK, SOS_EOS, UNK, Units
from espnet_psslm.weights import resolve_weights

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
ALIASES = {"qwen-2.5": "Qwen/Qwen2.5-1.5B", "gemma": "google/gemma-2-2b"}

_TO_ESCAPE = re.compile(r"[\s\\\x00-\x1f\x7f-\x9f]")
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")
_UNUSED = re.compile(r"<unused:\d+>")


def load_tokenizer(name: str | Path) -> "Tokenizer":
    """Load a fast tokenizer.

    Args:
        name: hub name, ``qwen-2.5``, ``gemma``, a folder, a ``tokenizer.json``, or ``package://``.

    Raises:
        ValueError: if there is none.
    """
    from tokenizers import Tokenizer

    source = resolve_weights(ALIASES.get(str(name), str(name)))
    path = Path(source)
    if path.is_dir():
        path = path / TOKENIZER_FILE
    try:
        if path.is_file():
            tokenizer = Tokenizer.from_file(str(path))
        else:
            tokenizer = Tokenizer.from_pretrained(source)
    except Exception as error:  # the library has no class of its own for what goes wrong
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"tokenizer '{name}': neither a folder with {TOKENIZER_FILE}, nor such a file, nor a "
            f"model that the hub gives out ({reason}); name one of these"
        ) from error
    tokenizer.encode_special_tokens = True  # "<|im_end|>" in a transcript is plain text
    return tokenizer


def escape_token(token: str) -> str:
    """Make a token fit for one line of the token list."""
    return _TO_ESCAPE.sub(lambda found: f"\\u{ord(found[0]):04x}", token)


def unescape_token(line: str) -> str:
    """The token that :func:`escape_token` made ``line`` from."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), line)


def whole_token_list(tokenizer: "Tokenizer") -> list[str]:
    """The units of a whole vocabulary, unit = token id + 1.

    Raises:
        ValueError: if the tokenizer has a token named as one of ours.
    """
    by_id = {index: token for token, index in _vocabulary(tokenizer).items()}
    size = max(by_id) + 1
    lines = [escape_token(by_id[i]) if i in by_id else f"<unused:{i}>" for i in range(size)]
    return [BLANK, *lines, *([] if UNK in lines else [UNK]), SOS_EOS]


def occurring_token_list(tokenizer: "Tokenizer", sentences: Sequence[str]) -> list[str]:
    """The units that occur in a text, in the order of their token ids.

    Raises:
        ValueError: if the tokenizer has a token named as one of ours.
    """
    by_id = {index: token for token, index in _vocabulary(tokenizer).items()}
    rows = tokenizer.encode_batch_fast(list(sentences), add_special_tokens=False)
    occurring = sorted({index for row in rows for index in row.ids})
    lines = [escape_token(by_id[index]) for index in occurring]
    return [BLANK, UNK, *(line for line in lines if line != UNK), SOS_EOS]


def _vocabulary(tokenizer: "Tokenizer") -> dict[str, int]:
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    for name in (BLANK, SOS_EOS):
        if name in vocabulary:
            raise ValueError(f"the tokenizer has a token {name}, which is a CTC unit's name here")
    return vocabulary


class HuggingFaceUnits(Units):
    """Tokens of a Hugging Face tokenizer.

    Args:
        token_list: the units, or the file that lists them: all tokens, or some.
        tokenizer: see :func:`load_tokenizer`; stage 5 leaves a ``tokenizer.json`` beside the list.

    Raises:
        ValueError: as :class:`Units`; if there is no tokenizer, or it lacks one of the units.
    """

    def __init__(
        self, token_list: str | Path | list[str] | tuple[str, ...], *, tokenizer: str | Path
    ) -> None:
        super().__init__(token_list)
        self._tokenizer = load_tokenizer(tokenizer)
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self._token_of_unit: dict[int, int] = {}
        for unit_id, line in enumerate(self.tokens):
            if unit_id in self._specials or _UNUSED.fullmatch(line):
                continue
            token_id = vocabulary.get(unescape_token(line))
            if token_id is None:
                raise ValueError(
                    f"unit {line!r} of the token list is no token of {tokenizer}: both must come "
                    "from one run of stage 5"
                )
            self._token_of_unit[unit_id] = token_id
        self._unit_of_token = {token: unit for unit, token in self._token_of_unit.items()}

    def _encode(self, text: str) -> list[int]:
        token_ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [self._unit_of_token.get(token_id, self.unk_id) for token_id in token_ids]

    def _decode(self, unit_ids: list[int]) -> str:
        token_ids = [self._token_of_unit[u] for u in unit_ids if u in self._token_of_unit]
        return self._tokenizer.decode(token_ids)

    def unit_texts(self) -> list[str]:
        """See :meth:`Units.unit_texts`; a part of a character gives "\ufffd"."""
        # Decoders drop a space at the very beginning: put something before it.
        anchor = self._tokenizer.encode("a", add_special_tokens=False).ids
        skip = len(self._tokenizer.decode(anchor))
        rows = [[*anchor, token_id] for token_id in self._token_of_unit.values()]
        texts = [""] * self.num_units
        for unit_id, text in zip(
            self._token_of_unit, self._tokenizer.decode_batch(rows), strict=True
        ):
            texts[unit_id] = text[skip:]
        return texts
