"""Stage 1 of the recipes with a corpus, on miniature corpora in the true layouts."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from espnet_psslm.bin import psslm_train
from espnet_psslm.bin.train_units import train_units
from espnet_psslm.common.left_out import read_dropped
from espnet_psslm.data.audio import read_audio
from espnet_psslm.data.format import filter_data, format_data
from espnet_psslm.data.kaldi import read_table
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.text.prompt import read_prompt_file
from tests.corpora import build_common_voice, build_covost2, build_slurp, slurp_row
from tests.helpers import run_and_fail
from tests.unit.tasks.test_processes import UPDATES, bridge_command, curve

RECIPES = Path(__file__).resolve().parents[3] / "egs2"


def load(recipe, name):
    path = RECIPES / recipe / "psslm1/local" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.main


def reasons(folder):
    return {entry.name: entry.reason for entry in read_dropped(folder)}


@pytest.fixture
def slurp(tmp_path):
    corpus = build_slurp(tmp_path / "slurp")

    def run(*options):
        out = tmp_path / "data"
        main = load("slurp", "prepare_slurp")
        main(["--corpus", str(corpus), "--datadir", str(out), *map(str, options)])
        return out

    return run


def test_slurp_sets(slurp):
    data = slurp()
    spoken = read_table(data / "train/text")
    assert spoken == {
        "audio-1": "wake me at seven thirty",
        "audio-1-headset": "wake me at seven thirty",
        "audio-2": "play café del mar",
        "audio-4": "wake me at seven thirty",
        "synth-1": "wake me at seven thirty",
    }
    assert list(read_table(data / "dev/wav.scp")) == ["audio-6", "audio-6-headset"]
    assert list(read_table(data / "test/wav.scp")) == ["audio-7", "audio-7-headset", "audio-8"]
    row = read_manifest(data / "train/psslm.jsonl")["audio-1-SLU_action"]
    assert (row["target"], row["slurp_id"], row["intent"]) == ("set", 1, "alarm_set")
    assert row["entities"] == [{"type": "time", "filler": "seven thirty"}]
    assert row["recording"] == "audio-1.flac"
    dropped = reasons(data / "train")
    assert dropped.keys() == {"train.jsonl:3", "train.jsonl:4", "train.jsonl:5", "train.jsonl:7"}
    assert "no words" in dropped["train.jsonl:3"]
    assert "audio-1 was there before" in dropped["train.jsonl:4"]
    assert "do not fit the tokens" in dropped["train.jsonl:5"]
    assert "no JSON" in dropped["train.jsonl:7"]


def test_slurp_text_has_each_sentence_once(slurp):
    data = slurp()
    text = read_table(data / "train_text/text")
    assert sorted(text.values()) == ["play café del mar", "wake me at seven thirty"]
    rows = read_manifest(data / "train_text/psslm.jsonl")
    assert {row["task"] for row in rows.values()} == {
        *("ASR", "SLU_scenario", "SLU_action", "SLU_entities"),
    }
    assert rows["text-slurp1-SLU_entities"]["target"] == "alarm | set | time: seven thirty"
    assert rows["text-slurp2-SLU_entities"]["target"] == "play | music"
    assert not any("path" in row for row in rows.values())
    assert list(read_table(data / "test_text/text")) == ["text-slurp7", "text-slurp8"]
    assert not (data / "test_text/wav.scp").exists()


@pytest.mark.parametrize(
    ("options", "train", "dev", "test"),
    [
        (
            ["--microphone", "headset"],
            ["audio-1-headset", "synth-1"],
            ["audio-6-headset"],
            ["audio-7-headset"],
        ),
        (
            ["--microphone", "distant", "--audio", "real"],
            ["audio-1", "audio-2", "audio-4"],
            ["audio-6"],
            ["audio-7", "audio-8"],
        ),
        (
            ["--audio", "synthetic"],
            ["synth-1"],
            ["audio-6", "audio-6-headset"],
            ["audio-7", "audio-7-headset", "audio-8"],
        ),
    ],
)
def test_slurp_subsets(slurp, options, train, dev, test):
    data = slurp(*options)
    sets = {"train": train, "dev": dev, "test": test}
    for name, utts in sets.items():
        assert list(read_table(data / name / "wav.scp")) == utts
        rows = read_manifest(data / name / "psslm.jsonl").values()
        assert {row["recording"] for row in rows} == {f"{utt}.flac" for utt in utts}


def test_slurp_part_of_a_set(slurp):
    data = slurp("--audio", "synthetic", "--max_test", "1")
    assert len(read_table(data / "test/wav.scp")) == 1
    assert list(read_table(data / "train/wav.scp")) == ["synth-1"]


def test_slurp_set_without_the_microphone(slurp, tmp_path, capsys):
    """An empty set is an error: here no development recording is of a headset."""
    devel = tmp_path / "slurp/dataset/slurp/devel.jsonl"
    row = json.loads(devel.read_text())
    devel.write_text(json.dumps(row | {"recordings": row["recordings"][:1]}) + "\n")
    error = run_and_fail(lambda options: slurp(*options), ["--microphone", "headset"], capsys)
    assert "no utterances for" in error and "/dev: check the data and its options" in error


def test_slurp_text_only_with_further_sentences(slurp, tmp_path):
    (tmp_path / "more.txt").write_text(
        "Play some JAZZ!\n\nplay some jazz\nwake me at seven thirty\n"
    )
    more = tmp_path / "more.jsonl"
    row = {"slurp_id": 900, "sentence": "dim it", "scenario": "iot", "action": "dim"}
    more.write_text(json.dumps(row | {"recordings": []}) + "\n")
    data = slurp("--text_only", "--extra_text", more, tmp_path / "more.txt")
    assert not (data / "train").exists()
    assert sorted(read_table(data / "train_text/text").values()) == [
        "dim it",
        "play café del mar",
        "play some jazz",
        "wake me at seven thirty",
    ]
    rows = read_manifest(data / "train_text/psslm.jsonl")
    assert rows["text-slurp900-SLU_scenario"]["target"] == "iot"
    assert sum(row["task"] == "SLU_scenario" for row in rows.values()) == 3


def test_slurp_rows_whose_entities_no_line_can_say(slurp, tmp_path):
    """The row is left out, counted and named; the stage goes on."""
    cases = {
        901: ("wake me up at five", {"span": [], "type": "time"}),
        902: ("say a | b", {"span": [1, 2, 3], "type": "event_name"}),
        903: ("call bo", {"span": [1], "type": "person name"}),
    }
    with open(tmp_path / "slurp/dataset/slurp/train.jsonl", "a", encoding="utf-8") as stream:
        for number, (words, entity) in cases.items():
            row = slurp_row(number, words, "alarm_set", [f"{number}.flac"], entities=[entity])
            stream.write(json.dumps(row) + "\n")
    data = slurp("--audio", "real")
    for name in ("train", "train_text"):
        said = [reason for reason in reasons(data / name).values() if "slurp_id 90" in reason]
        assert [reason[:13] for reason in said] == [f"slurp_id {n}:" for n in cases]
        assert not {"wake me up at five", "call bo"} & set(
            read_table(data / name / "text").values()
        )
    assert "audio-1" in read_table(data / "train/text")


def test_slurp_extra_sentences_whose_ids_are_taken(slurp, tmp_path):
    more = tmp_path / "more.jsonl"
    rows = [slurp_row(1, words, "iot_dim", []) for words in ("dim it", "dim them", "dim it")]
    more.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = read_table(slurp("--text_only", "--extra_text", more) / "train_text/text")
    assert text["text-slurp1"] == "wake me at seven thirty"
    assert (text["text-slurp1-extra0-1"], text["text-slurp1-extra0-2"]) == ("dim it", "dim them")
    assert sorted(text.values()).count("dim it") == 1


def test_slurp_through_formatting(slurp, tmp_path):
    """The missing clip and what stage 1 dropped count together."""
    data, raw = slurp(), tmp_path / "raw"
    format_data(data / "train", raw, fs=16000, nj=1)
    assert "audio-4" not in read_table(raw / "wav.scp")
    limits = {"fs": 16000, "min_duration_s": 0.1, "max_duration_s": 30}
    with pytest.raises(ValueError, match="5 of 9 utterances cannot be used"):
        filter_data(raw, **limits, max_dropped=0.5)
    filter_data(raw, **limits, max_dropped=0.6)
    assert list(read_table(raw / "speech_shape")) == [
        "audio-1",
        "audio-1-headset",
        "audio-2",
        "synth-1",
    ]


def test_slurp_true_text(shared_data, lm_folder, root, tmp_path):
    """It is prepared, and a tiny bridge learns from it."""
    recovered = shared_data / "slurp/derived/train_recovered.jsonl"
    main = load("slurp", "prepare_slurp")
    options = ["--corpus", str(shared_data / "slurp"), "--datadir", str(tmp_path)]
    main([*options, "--text_only", "--extra_text", str(recovered)])
    statistics = json.loads((tmp_path / "statistics.json").read_text())
    assert statistics["test_text"]["utterances"] <= 2974
    assert statistics["test_text"]["utterances"] + statistics["test_text"]["dropped"] >= 2900
    assert statistics["train_text"]["utterances"] > 4500
    rows = read_manifest(tmp_path / "test_text/psslm.jsonl").values()
    assert len({row["target"] for row in rows if row["task"] == "SLU_scenario"}) == 18

    sentences = list(read_table(tmp_path / "train_text/text").values())
    train_units(sentences, vocab_size=200, model_type="bpe", output_dir=tmp_path / "units")
    prompts = root / "conf/multiprompt.jsonl"
    models = {"lm": lm_folder, "units": tmp_path / "units", "prompts": prompts}
    train = tmp_path / "train_text/psslm.jsonl"
    keys = list(read_manifest(train))
    (tmp_path / "shapes").write_text("".join(f"{key} 40\n" for key in keys))
    command = bridge_command(
        tmp_path,
        models,
        train_data_path_and_name_and_type=[[str(train), "sample", "psslm_jsonl"]],
        train_shape_file=[str(tmp_path / "shapes")],
        batch_size=16,
    )
    psslm_train.main([*command, "--output_dir", str(tmp_path / "exp"), "--ngpu", "0"])
    losses = curve(tmp_path / "exp")
    assert len(losses) == UPDATES and losses[-1] < losses[0]


@pytest.fixture
def common_voice(tmp_path):
    corpus = build_common_voice(tmp_path / "cv")

    def run(*options):
        main = load("commonvoice", "prepare_commonvoice")
        places = ["--corpus", str(corpus), "--lang", "de", "--datadir", str(tmp_path / "data")]
        main([*places, *options])
        return tmp_path / "data"

    return run


def test_common_voice(common_voice, tmp_path):
    data = common_voice()
    assert read_table(data / "train/text") == {
        "common_voice_de_0": "beim jupiter fluchte der römer",
        "common_voice_de_1": "grüße aus köln",
        "common_voice_de_2": "er sagte schön",
        "common_voice_de_3": "das ist ein tabulator",
        "common_voice_de_5": "grüße aus köln",
    }
    assert read_table(data / "train/utt2spk")["common_voice_de_1"] == "spk1"
    assert read_table(data / "dev/text") == {
        "common_voice_de_11": "zwölf boxkämpfer jagen viktor quer über den großen sylter deich",
        "common_voice_de_6": "guten tag",
    }
    assert read_table(data / "test/text")["common_voice_de_7"] == "ende"
    assert len(read_table(data / "train_text/text")) == 4
    dropped = reasons(data / "train")
    assert "no words" in dropped["train.tsv:6"]
    assert "common_voice_de_0 was there before" in dropped["train.tsv:7"]
    assert dropped["train.tsv:9"] == "2 fields, the header has 4"
    format_data(data / "train", tmp_path / "raw", fs=16000, nj=1)
    scp = read_table(tmp_path / "raw/wav.scp")
    assert len(scp) == 4 and all(path.endswith(".flac") for path in scp.values())
    # mp3 pads: a second becomes a little more.
    assert 16000 <= len(read_audio(scp["common_voice_de_0"])) < 18500


def test_common_voice_validated_leaves_out_what_tests(common_voice):
    data = common_voice("--train_split", "validated")
    train = read_table(data / "train/text")
    assert "common_voice_de_9" in train
    assert not {f"common_voice_de_{i}" for i in (6, 7, 8, 10, 11)} & train.keys()


def test_common_voice_subset_is_part_of_a_larger_one(common_voice, tmp_path):
    small = set(read_table(common_voice("--max_train", "2", "--max_test", "1") / "train/text"))
    assert len(small) == 2 and len(read_table(tmp_path / "data/test/text")) == 1
    assert small < set(read_table(common_voice("--max_train", "3") / "train/text"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lang", "fr"], "fr/dev.tsv does not exist"),
        (["--max_dev", "0"], "must be at least 1"),
        (["--extra_text", "nope"], "nope: no such file"),
    ],
)
def test_common_voice_errors_are_one_line(common_voice, options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        common_voice(*options)
    assert stop.value.code == 1
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_common_voice_without_a_column(common_voice, tmp_path, capsys):
    (tmp_path / "cv/de/train.tsv").write_text("client_id\tpath\n")
    with pytest.raises(SystemExit):
        common_voice()
    assert "train.tsv: no column 'sentence', the header has ['client_id', 'path']" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("lang", "folder"), [("en", "cv_sentences_en"), ("zh-CN", "cv_sentences_zh-CN")]
)
def test_common_voice_true_sentences(shared_data, tmp_path, lang, folder):
    corpus = build_common_voice(tmp_path / "cv", lang=lang)
    text = max((shared_data / folder).glob("*.txt"), key=lambda path: path.stat().st_size)
    main = load("commonvoice", "prepare_commonvoice")
    options = ["--corpus", str(corpus), "--lang", lang, "--datadir", str(tmp_path / "data")]
    main([*options, "--extra_text", str(text), "--max_text", "1000"])
    sentences = read_table(tmp_path / "data/train_text/text")
    assert len(sentences) == 1000 and all(sentences.values())


@pytest.fixture
def covost2(tmp_path):
    translations, clips = build_covost2(tmp_path)

    def run(pair, *options):
        main = load("covost2", "prepare_covost2")
        places = ["--corpus", str(translations), "--commonvoice", str(clips), "--pair", pair]
        main([*places, "--datadir", str(tmp_path / "data"), *options])
        return tmp_path / "data"

    return run


def test_covost2(covost2, tmp_path):
    data = covost2("en_de")
    rows = read_manifest(data / "train/psslm.jsonl")
    targets = {row["utt"]: row["target"] for row in rows.values() if row["task"] == "EN2DE"}
    assert targets == {
        "common_voice_en_0": '"Hallo", sagte sie.',
        "common_voice_en_1": "Es regnet.",
        "common_voice_en_2": "Gute Nacht",
        "common_voice_en_3": "Eins zwei",
        "common_voice_en_9": "Sein Clip fehlt",
    }
    assert rows["common_voice_en_1-ASR"]["target"] == "it's raining"
    assert rows["common_voice_en_1-EN2DE"]["GT"] == "it's raining"
    assert list(read_table(data / "dev/text")) == ["common_voice_en_5"]
    assert list(read_table(data / "test/text")) == ["common_voice_en_6"]
    assert reasons(data / "train") == {
        "covost_v2.en_de.tsv:6": "no translation",
        "covost_v2.en_de.tsv:14": "the corpus marks the clip as none with REMOVE",
        "covost_v2.en_de.tsv:13": "common_voice_en_0.mp3 was there before; the first one is kept",
    }
    dropped = reasons(data / "test")
    assert dropped["validated.tsv:9"] == "no words in the sentence"
    assert "gone.mp3 is not in en/validated.tsv" in dropped["covost_v2.en_de.tsv:12"]
    text = read_manifest(data / "train_text/psslm.jsonl")
    assert len(text) == 10 and not any("path" in row for row in text.values())
    # A clip that is missing is left to stage 3.
    format_data(data / "train", tmp_path / "raw", fs=16000, nj=1)
    assert list(read_table(tmp_path / "raw/wav.scp")) == [f"common_voice_en_{i}" for i in range(4)]
    assert "common_voice_en_9.mp3: no such file" in reasons(tmp_path / "raw")["common_voice_en_9"]
    left = read_manifest(tmp_path / "raw/psslm.jsonl")
    assert len(left) == 8 and not any("en_9" in key for key in left)


@pytest.mark.parametrize(
    ("pair", "task", "said"),
    [
        ("de_en", "DE2EN", ["hallo sagte sie", "es regnet", "gute nacht", "eins zwei"]),
        ("zh-CN_en", "ZH2EN", ["她说你好", "下雨了", "晚安", "一二"]),
    ],
)
def test_covost2_into_english(covost2, pair, task, said):
    """The clips are of another language, whose transcripts are normalised as its own."""
    data, source = covost2(pair), pair.split("_")[0]
    rows = read_manifest(data / "train/psslm.jsonl")
    utts = [f"common_voice_{source}_{i}" for i in range(4)]
    english = ['"Hello," she said.', "It's raining.", "Good night", "One two"]
    assert [rows[f"{utt}-{task}"]["target"] for utt in utts] == english
    assert [rows[f"{utt}-ASR"]["target"] for utt in utts] == said
    assert [rows[f"{utt}-{task}"]["GT"] for utt in utts] == said
    assert {row["task"] for row in rows.values()} == {"ASR", task}
    assert f"/cv/{source}/clips/common_voice_{source}_0.mp3" in rows[f"{utts[0]}-ASR"]["path"]
    assert reasons(data / "train")["validated.tsv:6"] == "no words in the sentence"
    assert reasons(data / "test")[f"covost_v2.{pair}.tsv:9"] == "no translation"
    assert list(read_table(data / "test/text")) == [f"common_voice_{source}_6"]


def test_covost2_chinese_stays_chinese(covost2):
    rows = read_manifest(covost2("en_zh-CN") / "train/psslm.jsonl")
    assert rows["common_voice_en_0-EN2ZH"]["target"] == "她说：“你好”。"
    assert json.dumps("她说", ensure_ascii=False)[1:-1] in (
        (covost2("en_zh-CN") / "train/psslm.jsonl").read_text(encoding="utf-8")
    )


def test_covost2_pair_must_be_one(covost2, capsys):
    with pytest.raises(SystemExit):
        covost2("german")
    assert "--pair 'german': write SOURCE_TARGET" in capsys.readouterr().err


def test_every_pair_of_covost2_has_a_prompt():
    rows = read_prompt_file(RECIPES / "covost2/psslm1/conf/prompts.jsonl")
    tasks = {row["task"] for row in rows}
    assert len(rows) == len(tasks) == 1 + 15 + 21
    assert {"ASR", "EN2DE", "EN2ZH", "ZH2EN", "SV2EN"} <= tasks
