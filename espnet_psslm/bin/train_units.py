"""Make the CTC vocabulary from training text (stage 5).

Usage::

    python -m espnet_psslm.bin.train_units --text data/train_text/text --vocab_size 300 \
        --output_dir data/token_list/bpe_unigram300

Reads plain text (one sentence a line) or Kaldi-style ``text`` files (utterance id first, with
``--kaldi_text true``), already normalised. Writes ``bpe.model`` and ``tokens.txt``.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from espnet_psslm.bin.command import command
from espnet_psslm.text.llm_units import llm_unit_model
from espnet_psslm.text.units import BLANK, NUM_SPECIAL_PIECES, SOS_EOS, UNK, train_sentencepiece


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
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"training text {path} does not exist: run stage 1")
    lines = path.read_text(encoding="utf-8").split("\n")
    if kaldi_text:
        lines = [(line.split(maxsplit=1) + ["", ""])[1] for line in lines]
    return [line.strip() for line in lines if line.strip()]


def train_units(
    sentences: Sequence[str],
    *,
    vocab_size: int,
    model_type: str,
    output_dir: str | Path,
    llm: str = "",
) -> list[str]:
    """Train SentencePiece and write ``bpe.model`` and ``tokens.txt``.

    Args:
        sentences: normalised text.
        vocab_size: number of units V, the width of the CTC layer, special units included; with
            "llm" the most that there may be.
        model_type: "unigram", "bpe", or "llm": tokens of the language model.
        output_dir: folder to write to.
        llm: name of that language model.

    Returns:
        The units.

    Raises:
        ValueError: if there is no text, or it does not admit ``vocab_size`` units.
    """
    if not sentences:
        raise ValueError("the training text is empty: give --text a file with sentences")
    if model_type == "llm" and not llm:
        raise ValueError("--model_type llm needs --llm, the language model (recipe: --unit_llm)")
    tokenizer = _load_tokenizer(llm) if model_type == "llm" else None
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    try:
        if tokenizer is not None:
            model_bytes = llm_unit_model(sentences, tokenizer, num_pieces=vocab_size)
        else:
            model_bytes = train_sentencepiece(
                sentences, vocab_size=vocab_size, model_type=model_type
            )
    except (RuntimeError, OSError, ValueError) as error:
        raise ValueError(
            f"SentencePiece cannot make {vocab_size} {model_type} units from {len(sentences)} "
            f"sentences: {' '.join(str(error).split())}; change --vocab_size or give more text"
        ) from error
    (output_dir / "bpe.model").write_bytes(model_bytes)
    model = sentencepiece.SentencePieceProcessor(model_proto=model_bytes)
    pieces = [model.id_to_piece(i) for i in range(NUM_SPECIAL_PIECES, model.get_piece_size())]
    tokens = [BLANK, UNK, *pieces, SOS_EOS]
    (output_dir / "tokens.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return tokens


def _load_tokenizer(name: str) -> Any:
    from espnet_psslm.llm.backbone import load_tokenizer  # torch: seconds, of use here only

    return load_tokenizer(name)


def get_parser() -> argparse.ArgumentParser:
    """Command line of stage 5."""
    parser = argparse.ArgumentParser(
        description="Train SentencePiece units for CTC.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--text", nargs="+", required=True, help="training text files")
    parser.add_argument(
        "--kaldi_text",
        choices=("true", "false"),
        default="true",
        help="lines start with an utterance id",
    )
    parser.add_argument("--vocab_size", type=int, required=True, help="number of units V")
    parser.add_argument("--model_type", choices=("unigram", "bpe", "llm"), default="unigram")
    parser.add_argument("--llm", default="", help="language model whose tokens are the units")
    parser.add_argument("--output_dir", required=True, help="for bpe.model and tokens.txt")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Run stage 5.

    Args:
        cmd: arguments; None reads the command line.
    """
    with command(get_parser(), cmd) as args:
        sentences = [
            sentence
            for path in args.text
            for sentence in read_sentences(path, kaldi_text=args.kaldi_text == "true")
        ]
        tokens = train_units(
            sentences,
            vocab_size=args.vocab_size,
            model_type=args.model_type,
            output_dir=args.output_dir,
            llm=args.llm,
        )
    logging.info("%d units from %d sentences in %s", len(tokens), len(sentences), args.output_dir)


if __name__ == "__main__":
    main()
