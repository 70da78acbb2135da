"""Make the CTC vocabulary from training text (stage 5).

Usage::

    python -m espnet_psslm.bin.train_units --text data/train_text/text --vocab_size 300 \
        --output_dir data/token_list/bpe_unigram300

Reads plain text (one sentence a line) or Kaldi-style ``text`` files (utterance id first, with
``--kaldi_text true``), already normalised. Writes ``tokens.txt``, and ``bpe.model`` or
``tokenizer.json`` where the units need one. ``--model_type``:

============ =====================================================================================
unigram, bpe SentencePiece, trained
llm          SentencePiece whose pieces are tokens of a language model (``--source``)
given        an existing SentencePiece model (``--source``)
qwen-2.5     all tokens of that tokenizer
gemma        likewise
hf           all tokens of any Hugging Face tokenizer (``--source``)
char         the characters that occur
phn          the phones that occur (``--phone_language``)
list         the user's own (``--source``, a unit a line, or ``unit index``)
============ =====================================================================================

``--restrict true`` keeps the Hugging Face tokens that occur in the text.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_psslm.atomic import atomic_file, atomic_text
from espnet_psslm.bin.command import command, new_parser
from espnet_psslm.common.files import check_file
from espnet_psslm.common.lines import read_lines
from espnet_psslm.common.switch import add_switch, add_trust
from espnet_psslm.text.hugging_face import (
    TOKENIZER_FILE,
    load_tokenizer,
    occurring_token_list,
    whole_token_list,
)
from espnet_psslm.text.llm_units import llm_unit_model
from espnet_psslm.text.phones import phone_token_list
from espnet_psslm.text.spelled import character_token_list, read_unit_file
from espnet_psslm.text.units import load_sentencepiece, piece_token_list, train_sentencepiece

SENTENCEPIECE = ("unigram", "bpe", "llm", "given")
HUGGING_FACE = ("qwen-2.5", "gemma", "hf")
NEED_SOURCE = {
    "llm": "the language model whose tokens are the units",
    "given": "a SentencePiece model",
    "hf": "the name, folder or tokenizer.json of a tokenizer",
    "list": "a file with a unit a line",
}


def read_sentences(path: str | Path, *, kaldi_text: bool) -> list[str]:
    """Read the sentences of one text file.

    Args:
        path: the file.
        kaldi_text: lines start with an utterance id, which is cut off.

    Returns:
        The sentences that are not empty.

    Raises:
        ValueError: if the file is missing.
    """
    check_file(path, option="training text", fix="run stage 1")
    lines = [line for _, line in read_lines(path)]
    if kaldi_text:
        lines = [(line.split(maxsplit=1) + ["", ""])[1] for line in lines]
    return [line.strip() for line in lines if line.strip()]


def train_units(
    sentences: Sequence[str],
    *,
    model_type: str,
    output_dir: str | Path,
    vocab_size: int = 0,
    source: str = "",
    restrict: bool = False,
    phone_language: str = "",
    trust_remote_code: bool = False,
) -> list[str]:
    """Make the units and write ``tokens.txt``, and ``bpe.model`` or ``tokenizer.json``.

    Args:
        sentences: normalised text.
        model_type: see the module's text.
        output_dir: folder to write to.
        vocab_size: number of units V, the width of the CTC layer, special units included; with
            "llm" the most that there may be. Of "unigram", "bpe" and "llm".
        source: what is given: tokenizer, SentencePiece model, list, or language model.
        restrict: keep the tokens that occur, of Hugging Face tokenizers.
        phone_language: of "phn".
        trust_remote_code: run code that lies beside the tokenizer of "llm".

    Returns:
        The units.

    Raises:
        ValueError: if there is no text, it does not admit ``vocab_size`` units, or an option is
            missing.
    """
    if not sentences:
        raise ValueError("the training text is empty: give --text a file with sentences")
    if model_type in NEED_SOURCE and not source:
        raise ValueError(
            f"--model_type {model_type} needs --source, {NEED_SOURCE[model_type]} "
            "(recipe: --unit_source)"
        )
    if model_type == "phn" and not phone_language:
        raise ValueError("--model_type phn needs --phone_language, e.g. en-us")
    if restrict and model_type not in HUGGING_FACE:
        raise ValueError(f"--restrict true is of {', '.join(HUGGING_FACE)}, not of {model_type}")
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    if model_type in SENTENCEPIECE:
        model_bytes = _sentencepiece(
            sentences, model_type, vocab_size, source, trust_remote_code=trust_remote_code
        )
        with atomic_file(output_dir / "bpe.model") as stream:
            stream.write(model_bytes)
        tokens = piece_token_list(model_bytes)
    elif model_type in HUGGING_FACE:
        tokenizer = load_tokenizer(source or model_type)
        atomic_text(output_dir / TOKENIZER_FILE, tokenizer.to_str(pretty=True))
        tokens = (
            occurring_token_list(tokenizer, sentences) if restrict else whole_token_list(tokenizer)
        )
    elif model_type == "char":
        tokens = character_token_list(sentences)
    elif model_type == "phn":
        tokens = phone_token_list(sentences, language=phone_language)
    else:
        tokens = read_unit_file(source)
    atomic_text(output_dir / "tokens.txt", "\n".join(tokens) + "\n")
    return tokens


def _sentencepiece(
    sentences: Sequence[str],
    model_type: str,
    vocab_size: int,
    source: str,
    *,
    trust_remote_code: bool,
) -> bytes:
    """The model of one of the types that SentencePiece serves."""
    if model_type == "given":
        load_sentencepiece(source, option="--source")
        return Path(source).read_bytes()
    if vocab_size <= 0:
        raise ValueError(f"--model_type {model_type} needs --vocab_size, the number of units")
    tokenizer = None
    if model_type == "llm":
        tokenizer = _load_llm_tokenizer(source, trust_remote_code=trust_remote_code)
    try:
        if tokenizer is not None:
            return llm_unit_model(sentences, tokenizer, num_pieces=vocab_size)
        return train_sentencepiece(sentences, vocab_size=vocab_size, model_type=model_type)
    except (RuntimeError, OSError, ValueError) as error:
        raise ValueError(
            f"SentencePiece cannot make {vocab_size} {model_type} units from {len(sentences)} "
            f"sentences: {' '.join(str(error).split())}; change --vocab_size or give more text"
        ) from error


def _load_llm_tokenizer(name: str, *, trust_remote_code: bool) -> Any:
    from espnet_psslm.llm.backbone import load_tokenizer  # torch: seconds, of use here only

    return load_tokenizer(name, trust_remote_code=trust_remote_code)


def get_parser() -> argparse.ArgumentParser:
    """Command line of stage 5."""
    parser = new_parser("Make the units of CTC.")
    parser.add_argument("--text", nargs="+", required=True, help="training text files")
    add_switch(parser, "--kaldi_text", default="true", help="lines start with an utterance id")
    parser.add_argument(
        "--vocab_size", type=int, default=0, help="number of units V; of unigram, bpe, llm"
    )
    parser.add_argument(
        "--model_type",
        choices=(*SENTENCEPIECE, *HUGGING_FACE, "char", "phn", "list"),
        default="unigram",
        help="kind of units",
    )
    parser.add_argument(
        "--source",
        default="",
        help="; ".join(f"{kind}: {what}" for kind, what in NEED_SOURCE.items()),
    )
    add_switch(parser, "--restrict", help="keep the tokens that occur, of Hugging Face tokenizers")
    parser.add_argument(
        "--phone_language", default="", help="phn: espeak-ng's name of it, e.g. en-us, de, cmn"
    )
    add_trust(parser)
    parser.add_argument("--output_dir", required=True, help="for tokens.txt and its model")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Run stage 5."""
    with command(get_parser(), cmd) as args:
        sentences = [
            sentence
            for path in args.text
            for sentence in read_sentences(path, kaldi_text=args.kaldi_text)
        ]
        tokens = train_units(
            sentences,
            vocab_size=args.vocab_size,
            model_type=args.model_type,
            output_dir=args.output_dir,
            source=args.source,
            restrict=args.restrict,
            phone_language=args.phone_language,
            trust_remote_code=args.trust_remote_code,
        )
    logging.info("%d units from %d sentences in %s", len(tokens), len(sentences), args.output_dir)


if __name__ == "__main__":
    main()
