"""Every vocabulary: blank first, round trip, stage 5. Large real ones take ../shared."""

import json
from pathlib import Path

import pytest

from espnet_psslm.bin.train_units import main
from espnet_psslm.text.hugging_face import HuggingFaceUnits, escape_token, unescape_token
from espnet_psslm.text.normalize import normalize_text
from espnet_psslm.text.phones import PhoneUnits
from espnet_psslm.text.spelled import CharacterUnits, ListedUnits, read_unit_file
from espnet_psslm.text.units import Units
from espnet_psslm.text.vocabulary import TOKEN_TYPES, build_units
from tests.helpers import SENTENCES, build_tokenizer

TEXTS = {
    "en": "what's the weather at seven o'clock",
    "de": "öffne die tür für größere gäste und schließe sie",
    "zh": "今天天气怎么样",
    "mixed": "播放 music 音乐",
}
TRAINING = [*SENTENCES, *TEXTS.values()]


def make(folder: Path, model_type: str, *options: str, sentences=TRAINING) -> Path:
    (folder / "text").write_text("\n".join(sentences) + "\n", encoding="utf-8")
    command = ["--text", str(folder / "text"), "--kaldi_text", "false", "--model_type", model_type]
    main([*command, "--output_dir", str(folder / "units"), *options])
    return folder / "units"


def save_tokenizer(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    build_tokenizer().save_pretrained(folder)
    return folder


def save_metaspace_tokenizer(path: Path) -> Path:
    """As Gemma's and Llama's: pieces with a mark for the space, bytes for the rest, own <unk>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    special = ["<pad>", "<unk>", "\n", "\u2581\u2581", *(f"<0x{b:02X}>" for b in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    whole = json.loads(tokenizer.to_str())
    # Of these only two are control tokens: bytes are text, as in the real ones.
    whole["added_tokens"] = [t for t in whole["added_tokens"] if t["content"] in special[:2]]
    path.write_text(json.dumps(whole), encoding="utf-8")
    return path


def token_type_units(kind: str, folder: Path) -> Units:
    """Stage 5 and then what tasks build, of each token type."""
    if kind == "bpe":
        made = make(folder, "bpe", "--vocab_size", "90")
        return build_units("bpe", made / "tokens.txt", bpemodel=made / "bpe.model")
    if kind == "given":
        first = make(folder, "unigram", "--vocab_size", "80")
        made = make(folder, "given", "--source", str(first / "bpe.model"))
        return build_units("bpe", made / "tokens.txt", bpemodel=made / "bpe.model")
    if kind == "char":
        return build_units("char", make(folder, "char") / "tokens.txt")
    if kind == "list":
        characters = sorted(set("".join(TRAINING)) - {" "})
        (folder / "own").write_text("\n".join(["<space>", "the", "ing", "天气", *characters]))
        made = make(folder, "list", "--source", str(folder / "own"))
        return build_units("list", made / "tokens.txt")
    tokenizer = save_tokenizer(folder / "tokenizer")
    restrict = ["--restrict", "true"] if kind == "hf, restricted" else []
    made = make(folder, "hf", "--source", str(tokenizer), *restrict)
    return build_units("hf", made / "tokens.txt", bpemodel=made / "tokenizer.json")


@pytest.mark.parametrize("kind", ["bpe", "given", "char", "list", "hf", "hf, restricted"])
def test_round_trip(kind: str, tmp_path: Path) -> None:
    units = token_type_units(kind, tmp_path)
    assert units.blank_id == 0 and units.tokens[0] == "<blank>"
    assert units.tokens[-1] == "<sos/eos>" and units.tokens[units.unk_id] == "<unk>"
    for text in TEXTS.values():
        unit_ids = units.encode(text)
        assert units.decode(unit_ids) == text
        assert not {0, units.unk_id, units.num_units - 1} & set(unit_ids)
        joined = "".join(units.unit_texts()[unit_id] for unit_id in unit_ids)
        assert "\ufffd" in joined or joined.strip() == text  # a byte of a character has no text
    assert units.encode("") == [] and units.decode([]) == ""
    # ESPnet reads the file in its own way.
    path = tmp_path / "units/tokens.txt"
    assert [line.rstrip() for line in path.open(encoding="utf-8")] == units.tokens


def test_token_0_is_unit_1(tmp_path: Path) -> None:
    """ESPnet's hugging_face drops it: "!" of Qwen."""
    folder = save_tokenizer(tmp_path / "tokenizer")
    made = make(tmp_path, "hf", "--source", str(folder))
    units = HuggingFaceUnits(made / "tokens.txt", tokenizer=made / "tokenizer.json")
    tokenizer = build_tokenizer()
    text = "turn on! now"
    token_ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert units.encode(text) == [token_id + 1 for token_id in token_ids]
    assert units.decode(units.encode(text)) == text
    assert units.num_units == len(tokenizer) + 3
    plain = units.encode("a <|im_end|> b")  # of a transcript: text, no control token
    assert units.decode(plain) == "a <|im_end|> b"
    assert units.decode([tokenizer.convert_tokens_to_ids("<|im_end|>") + 1]) == ""


def test_marks_of_the_space_and_an_unknown_of_its_own(tmp_path: Path) -> None:
    source = save_metaspace_tokenizer(tmp_path / "tokenizer.json")
    for restrict in ("false", "true"):
        made = make(tmp_path, "hf", "--source", str(source), "--restrict", restrict)
        units = HuggingFaceUnits(made / "tokens.txt", tokenizer=made / "tokenizer.json")
        for text in TEXTS.values():
            assert units.decode(units.encode(text)) == text
        assert units.tokens.count("<unk>") == 1
        assert units.unk_id == (2 if restrict == "false" else 1)
    assert "\\u000a" in (make(tmp_path, "hf", "--source", str(source)) / "tokens.txt").read_text()


@pytest.mark.parametrize("token", ["a", "\\", "\\u000a", "\n", " x\t", "\u2028", "\\\\u0020"])
def test_escapes_come_back(token: str) -> None:
    line = escape_token(token)
    assert unescape_token(line) == token and line == line.strip() and len(line.split()) == 1


def test_restricted_vocabulary(tmp_path: Path) -> None:
    folder = save_tokenizer(tmp_path / "tokenizer")
    options = ["--source", str(folder), "--restrict", "true"]
    made = make(tmp_path, "hf", *options, sentences=["turn on"])
    units = HuggingFaceUnits(made / "tokens.txt", tokenizer=made / "tokenizer.json")
    occurring = set(build_tokenizer()("turn on", add_special_tokens=False)["input_ids"])
    assert units.num_units == len(occurring) + 3
    assert units.unk_id in units.encode("the band") and units.unk_id not in units.encode("turn on")


def test_token_list_of_another_tokenizer(tmp_path: Path) -> None:
    source = save_metaspace_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match="'Ġthe' of the token list is no token of"):
        HuggingFaceUnits(["<blank>", "<unk>", "Ġthe", "<sos/eos>"], tokenizer=source)
    with pytest.raises(ValueError, match="neither a folder with tokenizer.json"):
        HuggingFaceUnits(["<blank>", "<unk>", "a", "<sos/eos>"], tokenizer=tmp_path / "absent")


def test_qwen(shared_data: Path, tmp_path: Path) -> None:
    """151,665 tokens; whole and restricted to German, Chinese and English sentences."""
    source = shared_data / "tokenizers/qwen2.5"
    sentences = []
    for name, language in (("en-de", "de"), ("en-zh", "zh")):
        lines = (shared_data / f"parallel_tatoeba/{name}.tsv").read_text(encoding="utf-8")
        for line in lines.split("\n")[1::80]:
            sentences += [normalize_text(part, language) for part in line.split("\t")]
    sentences = [sentence for sentence in sentences if sentence]
    made = make(tmp_path, "hf", "--source", str(source), sentences=sentences)
    whole = HuggingFaceUnits(made / "tokens.txt", tokenizer=source)
    assert whole.num_units == 151_665 + 2  # it has a token "<unk>" of its own
    assert 1 in whole.encode("turn on! now")
    made = make(tmp_path, "hf", "--source", str(source), "--restrict", "true", sentences=sentences)
    restricted = HuggingFaceUnits(made / "tokens.txt", tokenizer=source)
    assert restricted.num_units < 5000
    for units in (whole, restricted):
        texts = [*sentences, "turn on! now"] if units is whole else sentences
        assert [units.decode(units.encode(text)) for text in texts] == texts
        assert units.unit_texts()[units.encode(" turn the")[-1]] == " the"


def test_characters(tmp_path: Path) -> None:
    units = CharacterUnits(make(tmp_path, "char", sentences=["ab ba", "中"]) / "tokens.txt")
    assert units.tokens == ["<blank>", "<unk>", "<space>", "a", "b", "中", "<sos/eos>"]
    assert units.encode(" a bx ") == [3, 2, 4, 1]
    assert units.decode([2, 3, 2, 2, 4, 1, 5, 2]) == "a b中"


def test_listed_units_split_into_the_fewest(tmp_path: Path) -> None:
    pieces = ["▁", "▁tu", "rn", "r", "n", "▁turn", "ed"]
    units = ListedUnits(["<blank>", "<unk>", *pieces, "<sos/eos>"])
    assert units.encode("turned turn") == [7, 8, 7] and units.decode([7, 8, 3, 4]) == "turned turn"
    assert units.encode("xyz rn") == [2, 1, 2, 4]  # a run of unknown characters is one unknown
    words = ListedUnits(["<blank>", "<unk>", "turn", "on", "<sos/eos>"])
    assert words.encode("turn it on") == [2, 1, 3] and words.decode([2, 3]) == "turn on"
    assert words.unit_texts() == ["", "", " turn", " on", ""]
    chinese = ListedUnits(["<blank>", "<unk>", "天", "气", "<sos/eos>"])
    assert chinese.encode("天气 天") == [2, 3, 2] and chinese.decode([2, 3, 2]) == "天气天"


@pytest.mark.parametrize(
    ("lines", "tokens"),
    [
        ("a\nb\n", ["<blank>", "a", "b", "<unk>", "<sos/eos>"]),
        ("<unk>\na\n", ["<blank>", "<unk>", "a", "<sos/eos>"]),
        ("b 1\na 0\n", ["<blank>", "a", "b", "<unk>", "<sos/eos>"]),  # moves up by one
        ("b 2\na 1\n", ["<blank>", "a", "b", "<unk>", "<sos/eos>"]),  # stays
        ("<blk> 0\n<unk> 1\na 2\n", ["<blank>", "<unk>", "a", "<sos/eos>"]),
        ("<blank> 0\n<unk> 1\na 2\n<sos/eos> 3\n", ["<blank>", "<unk>", "a", "<sos/eos>"]),
    ],
)
def test_unit_file(lines: str, tokens: list[str], tmp_path: Path) -> None:
    (tmp_path / "own").write_text(lines)
    assert read_unit_file(tmp_path / "own") == tokens


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "is empty"),
        ("a b c\n", "'a b c' is neither 'unit' nor 'unit index'"),
        ("a 0\nb 3\n", "indices 0 to 1, each once"),
        ("a 0\nb 0\n", "indices 0 to 1, each once"),
        ("a\n<blank>\n", "<blank> must be the first unit"),
        ("<sos/eos>\na\n", "<sos/eos> must be the last unit"),
    ],
)
def test_bad_unit_file(lines: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own").write_text(lines)
    with pytest.raises(ValueError, match=message):
        read_unit_file(tmp_path / "own")
    with pytest.raises(ValueError, match="does not exist"):
        read_unit_file(tmp_path / "absent")


def test_phones(tmp_path: Path) -> None:
    """One way: text to phones. Same word, same phones; what is decoded are the phones."""
    pytest.importorskip("phonemizer", reason="needs the extra 'phones'")
    made = make(tmp_path, "phn", "--phone_language", "en-us", sentences=[*SENTENCES, "two too"])
    units = build_units("phn", made / "tokens.txt", phone_language="en-us")
    assert units.encode("two") == units.encode("too") != []
    assert units.decode(units.encode("turn on")) == units.pronounce("turn on")
    assert "t ɜː n" in units.pronounce("turn on") and units.encode("") == []
    assert not any(units.unit_texts())
    for language, text in (("de", TEXTS["de"]), ("cmn", TEXTS["zh"])):
        made = make(tmp_path, "phn", "--phone_language", language, sentences=[text])
        others = PhoneUnits(made / "tokens.txt", language=language)
        assert len(others.encode(text)) > 10 and others.unk_id not in others.encode(text)
    assert "øː" in PhoneUnits(units.tokens, language="de").pronounce("schöne")
    with pytest.raises(ValueError, match="no language 'xx'; set --phone_language"):
        PhoneUnits(units.tokens, language="xx").encode("a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["hf"], "needs --source, the name, folder or tokenizer.json"),
        (["list"], "needs --source, a file"),
        (["given", "--source", "/absent.model"], "absent.model does not exist"),
        (["phn"], "needs --phone_language"),
        (["unigram"], "needs --vocab_size"),
        (["char", "--restrict", "true"], "--restrict true is of"),
    ],
)
def test_stage_5_errors(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        make(tmp_path, *options)
    assert message in capsys.readouterr().err


def test_build_units_errors() -> None:
    tokens = ["<blank>", "<unk>", "a", "<sos/eos>"]
    for kind, message in (
        ("bpe", "needs --bpemodel"),
        ("hf", "needs --bpemodel"),
        ("phn", "needs --phone_language"),
        ("word", f"choose one of {', '.join(TOKEN_TYPES)}"),
    ):
        with pytest.raises(ValueError, match=message):
            build_units(kind, tokens)
