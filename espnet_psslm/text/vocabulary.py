"""The CTC vocabulary that a configuration names.

``token_type`` is ESPnet's option, with two names more; ``bpemodel`` is ESPnet's name for the file
that splits text:

========== ========================================= ==================== =====================
token_type units                                     bpemodel             ESPnet's Speech2Text
========== ========================================= ==================== =====================
bpe        pieces of a SentencePiece model           ``bpe.model``        serves it
char       characters and ``<space>``                none                 serves it
phn        phones, one way (``phone_language``)      none                 serves it
hf         tokens of a Hugging Face tokenizer        ``tokenizer.json``   refuses the name
list       the user's own                            none                 refuses the name
sensevoice SenseVoiceSmall's own (bridge only)       its SentencePiece    no such model
========== ========================================= ==================== =====================
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_psslm.text.hugging_face import HuggingFaceUnits
from espnet_psslm.text.phones import PhoneUnits
from espnet_psslm.text.sensevoice_units import SenseVoiceUnits
from espnet_psslm.text.spelled import CharacterUnits, ListedUnits
from espnet_psslm.text.units import SentencePieceUnits, Units

TOKEN_TYPES = ("bpe", "char", "phn", "hf", "list")  # of Whisper-CTC models
BRIDGE_TOKEN_TYPES = (*TOKEN_TYPES, "sensevoice")


def build_units(
    token_type: str | None,
    token_list: str | Path | Sequence[str] | None,
    *,
    bpemodel: str | Path | None = None,
    phone_language: str | None = None,
) -> Units:
    """Build the vocabulary.

    Args:
        token_type: see the module's text.
        token_list: the units, or the file that lists them; not asked for with sensevoice.
        bpemodel: the file that splits text, where the type needs one.
        phone_language: espeak-ng's name of the language, of type ``phn``.

    Raises:
        ValueError: if the type is unknown or lacks what it needs.
    """
    tokens = token_list if isinstance(token_list, str | Path) else list(token_list or ())
    if token_type in ("bpe", "hf", "sensevoice") and not bpemodel:
        raise ValueError(f"token_type {token_type} needs --bpemodel: stage 5 makes it")
    if token_type == "phn" and not phone_language:
        raise ValueError("token_type phn needs --phone_language, e.g. en-us")
    match token_type:
        case "bpe":
            return SentencePieceUnits(tokens, bpemodel=bpemodel)
        case "hf":
            return HuggingFaceUnits(tokens, tokenizer=bpemodel)
        case "char":
            return CharacterUnits(tokens)
        case "phn":
            return PhoneUnits(tokens, language=phone_language)
        case "list":
            return ListedUnits(tokens)
        case "sensevoice":
            return SenseVoiceUnits(bpemodel)
    raise ValueError(
        f"token_type {token_type} is not served; choose one of {', '.join(TOKEN_TYPES)}"
    )


def add_unit_arguments(group: argparse._ArgumentGroup) -> None:
    """Options ``--token_type``, ``--token_list``, ``--bpemodel`` and ``--phone_language``."""
    group.add_argument(
        "--token_type", choices=BRIDGE_TOKEN_TYPES, default="bpe", help="Kind of the CTC units"
    )
    group.add_argument("--token_list", help="Units of the CTC vocabulary, one a line")
    group.add_argument(
        "--bpemodel", help="File that splits text: SentencePiece model, or tokenizer.json"
    )
    add_phone_language(group)


def add_phone_language(group: argparse._ArgumentGroup) -> None:
    """Option ``--phone_language``."""
    group.add_argument(
        "--phone_language", help="With token_type phn: espeak-ng's name of it, e.g. en-us"
    )


def units_of(args: argparse.Namespace) -> Units:
    """The vocabulary of a task's options; configurations from before ``token_type`` have ``bpe``.

    Raises:
        ValueError: see :func:`build_units`.
    """
    return build_units(
        getattr(args, "token_type", "bpe"),
        args.token_list,
        bpemodel=args.bpemodel,
        phone_language=getattr(args, "phone_language", None),
    )
