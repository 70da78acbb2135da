from pathlib import Path

import pytest

from espnet_psslm.bin.train_units import main, read_sentences, train_units
from espnet_psslm.text.units import SentencePieceUnits

SENTENCES = [
    "turn on the kitchen light",
    "turn off the light at seven o'clock",
    "what time is it in london",
    "play some music in the kitchen",
] * 5
VOCAB_SIZE = 34


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("units")
    train_units(SENTENCES, vocab_size=VOCAB_SIZE, model_type="unigram", output_dir=folder)
    return folder


@pytest.fixture(scope="module")
def units(folder: Path) -> SentencePieceUnits:
    return SentencePieceUnits(folder / "tokens.txt", bpemodel=folder / "bpe.model")


def test_special_units_are_where_espnet_wants_them(units: SentencePieceUnits) -> None:
    assert units.num_units == len(units.tokens) == VOCAB_SIZE
    assert (units.tokens[0], units.tokens[1], units.tokens[-1]) == ("<blank>", "<unk>", "<sos/eos>")
    assert (units.blank_id, units.unk_id) == (0, 1)


def test_round_trip(units: SentencePieceUnits) -> None:
    for sentence in SENTENCES:
        unit_ids = units.encode(sentence)
        assert units.decode(unit_ids) == sentence
        assert all(1 < unit_id < units.num_units - 1 for unit_id in unit_ids)


def test_encode_equals_the_pieces_of_espnets_tokenizer(
    units: SentencePieceUnits, folder: Path
) -> None:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "bpe.model"))
    pieces = model.encode("turn the music off", out_type=str)
    assert units.encode("turn the music off") == [units.tokens.index(piece) for piece in pieces]


def test_unknown_characters(units: SentencePieceUnits) -> None:
    unit_ids = units.encode("turn \u00e9 on")
    assert unit_ids.count(units.unk_id) == 1
    assert units.decode(unit_ids).split() == ["turn", "on"]


def test_empty(units: SentencePieceUnits) -> None:
    assert units.encode("") == []
    assert units.decode([]) == ""
    assert units.decode([0, 1, units.num_units - 1]) == ""


def test_unit_texts(units: SentencePieceUnits) -> None:
    texts = units.unit_texts()
    assert len(texts) == units.num_units
    assert (texts[0], texts[1], texts[-1]) == ("", "", "")
    sentence = "turn on the kitchen light"
    assert "".join(texts[unit_id] for unit_id in units.encode(sentence)) == " " + sentence


def test_misuse(units: SentencePieceUnits) -> None:
    with pytest.raises(ValueError, match="must be a string"):
        units.encode(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"{VOCAB_SIZE} is outside"):
        units.decode([VOCAB_SIZE])


def test_token_list_of_other_model(units: SentencePieceUnits, folder: Path) -> None:
    tokens = [*units.tokens[:2], *units.tokens[3:]]
    with pytest.raises(ValueError, match="not in the token list"):
        SentencePieceUnits(tokens, bpemodel=folder / "bpe.model")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["<unk>", "<blank>", "a", "<sos/eos>"], "must start with <blank>"),
        (["<blank>", "<unk>", "a", "b"], "end in <sos/eos>"),
        (["<blank>", "<unk>", "a", "a", "<sos/eos>"], r"\['a'\] more than once"),
    ],
)
def test_bad_token_list(tokens: list[str], message: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        SentencePieceUnits(tokens, bpemodel=folder / "bpe.model")


def test_missing_files(folder: Path) -> None:
    with pytest.raises(ValueError, match="run stage 5"):
        SentencePieceUnits(folder / "none.txt", bpemodel=folder / "bpe.model")
    with pytest.raises(ValueError, match="run stage 5"):
        SentencePieceUnits(folder / "tokens.txt", bpemodel=folder / "none.model")


def test_command_line(tmp_path: Path, folder: Path) -> None:
    text = tmp_path / "text"
    text.write_text("".join(f"utt{i} {s}\n" for i, s in enumerate(SENTENCES)) + "uttx\n\n")
    assert read_sentences(text, kaldi_text=True) == SENTENCES
    options = ["--text", str(text), "--vocab_size", str(VOCAB_SIZE)]
    main([*options, "--output_dir", str(tmp_path / "out")])
    for name in ("tokens.txt", "bpe.model"):  # same text, same bytes
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("lines", "size", "message"),
    [("", 40, "is empty"), ("utt a b c\n", 400, "change --vocab_size")],
)
def test_command_line_errors(
    lines: str, size: int, message: str, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    (tmp_path / "text").write_text(lines)
    options = ["--text", str(tmp_path / "text"), "--vocab_size", str(size)]
    with pytest.raises(SystemExit) as stop:
        main([*options, "--output_dir", str(tmp_path)])
    assert stop.value.code == 1
    assert message in capfd.readouterr().err
