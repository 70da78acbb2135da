"""Units that are tokens of the language model."""

import math
from pathlib import Path

import pytest
import sentencepiece

from espnet_psslm.bin.train_units import main
from espnet_psslm.text.llm_units import count_token_texts, llm_unit_model
from espnet_psslm.text.units import SentencePieceUnits
from tests.helpers import SENTENCES, build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llm_units")
    tokenizer.save_pretrained(folder / "llm")
    (folder / "text").write_text("\n".join(SENTENCES) + "\n", encoding="utf-8")
    options = ["--kaldi_text", "false", "--vocab_size", "500", "--model_type", "llm"]
    options += ["--text", str(folder / "text"), "--source", str(folder / "llm")]
    main([*options, "--output_dir", str(folder)])
    return folder


def test_word_of_one_token_is_one_unit(folder, tokenizer):
    units = SentencePieceUnits(folder / "tokens.txt", bpemodel=folder / "bpe.model")
    texts = units.unit_texts()
    short = 0
    for word in {word for sentence in SENTENCES for word in sentence.split()}:
        unit_ids = units.encode(word)
        assert units.decode(unit_ids) == word
        if len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1:
            assert [texts[unit] for unit in unit_ids] == [f" {word}"]
            short += 1
    assert short > 5


def test_every_unit_is_one_token(folder, tokenizer):
    units = SentencePieceUnits(folder / "tokens.txt", bpemodel=folder / "bpe.model")
    texts = [text for text in units.unit_texts() if text]
    assert all(len(tokenizer(t, add_special_tokens=False)["input_ids"]) == 1 for t in texts)
    assert any(len(text) > 3 for text in texts)


def test_new_word_of_known_characters_is_spelled(folder):
    units = SentencePieceUnits(folder / "tokens.txt", bpemodel=folder / "bpe.model")
    unit_ids = units.encode("turn on the ghoul")
    assert units.unk_id not in unit_ids
    assert units.decode(unit_ids) == "turn on the ghoul"


def test_limit_keeps_the_most_frequent_tokens(tokenizer):
    counts = count_token_texts(SENTENCES, tokenizer)
    characters = {"\u2581", *"".join(SENTENCES).replace(" ", "")}
    words = {text: count for text, count in counts.items() if text not in characters}
    best = max(words, key=lambda text: (words[text], text))
    assert best == "\u2581the"
    model = sentencepiece.SentencePieceProcessor(
        model_proto=llm_unit_model(SENTENCES, tokenizer, num_pieces=3 + len(characters) + 1)
    )
    pieces = {model.id_to_piece(i) for i in range(3, model.get_piece_size())}
    assert pieces == characters | {best}
    score = model.get_score(model.piece_to_id(best))
    assert score == pytest.approx(math.log(counts[best] / counts.total()), abs=1e-5)


def test_too_few_for_the_characters_is_an_error(folder, capsys):
    options = ["--kaldi_text", "false", "--vocab_size", "9", "--model_type", "llm"]
    options += ["--text", str(folder / "text"), "--source", str(folder / "llm")]
    with pytest.raises(SystemExit):
        main([*options, "--output_dir", str(folder / "few")])
    assert "characters alone; change --vocab_size" in capsys.readouterr().err


def test_no_language_model_is_an_error_that_names_the_option(folder, capsys):
    options = ["--kaldi_text", "false", "--vocab_size", "500", "--model_type", "llm"]
    options += ["--text", str(folder / "text"), "--output_dir", str(folder / "none")]
    with pytest.raises(SystemExit):
        main(options)
    assert "--model_type llm needs --source" in capsys.readouterr().err


def test_counts_leave_out_parts_of_a_character(tokenizer):
    assert set(count_token_texts(["\u00e9 a"], tokenizer)) == {"\u2581a"}
