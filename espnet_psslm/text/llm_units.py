"""CTC units that are tokens of the language model behind the bridge.

A unit then starts as exactly the embedding of its token (``projector_init: unit_text``), where a
unit of the corpus's own making may be worth several tokens and starts as their blurred mean.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from espnet_psslm.text.units import NUM_SPECIAL_PIECES, WORD_START, train_sentencepiece

RARE = 0.1  # sightings of a character that never stands alone: the last resort for new words


def count_token_texts(sentences: Sequence[str], tokenizer: Any) -> Counter[str]:
    """How often each token occurs, by its text with SentencePiece's mark for the space.

    Args:
        sentences: normalised text.
        tokenizer: of the language model (Hugging Face).

    Returns:
        Counts. A token with a space inside, or of part of a character, is left out.
    """
    ids = Counter[int]()
    for row in tokenizer([f" {s}" for s in sentences], add_special_tokens=False)["input_ids"]:
        ids.update(row)
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"]  # else a leading space is lost
    skip = len(tokenizer.decode(anchor))
    counts = Counter[str]()
    for token_id, count in ids.items():
        text = tokenizer.decode([*anchor, token_id])[skip:]
        if text.strip() and " " not in text[1:] and "\ufffd" not in text:
            counts[text.replace(" ", WORD_START)] += count
    return counts


def llm_unit_model(sentences: Sequence[str], tokenizer: Any, *, num_pieces: int) -> bytes:
    """A SentencePiece unigram model whose pieces are the language model's tokens.

    All characters of the text are pieces too: no word of these characters is unknown.

    Args:
        sentences: normalised text.
        tokenizer: of the language model (Hugging Face).
        num_pieces: at most so many, SentencePiece's own three included; the most frequent stay.

    Returns:
        The serialised model.

    Raises:
        ValueError: if the characters alone are more.
    """
    from sentencepiece import sentencepiece_model_pb2

    counts = count_token_texts(sentences, tokenizer)
    characters = {WORD_START, *"".join(sentences).replace(" ", "")}
    if (room := num_pieces - NUM_SPECIAL_PIECES - len(characters)) < 0:
        raise ValueError(f"the text has {len(characters)} characters alone")
    tokens = sorted(counts.keys() - characters, key=lambda text: (-counts[text], text))[:room]

    spelling = train_sentencepiece(
        sentences,
        vocab_size=NUM_SPECIAL_PIECES + len(characters),
        model_type="char",
        hard_vocab_limit=False,
    )
    model = sentencepiece_model_pb2.ModelProto.FromString(spelling)
    model.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.UNIGRAM
    del model.pieces[NUM_SPECIAL_PIECES:]
    total = counts.total()
    for text in [*tokens, *sorted(characters)]:
        model.pieces.add(piece=text, score=math.log(max(counts[text], RARE) / total))
    model.trainer_spec.vocab_size = len(model.pieces)
    return model.SerializeToString(deterministic=True)
