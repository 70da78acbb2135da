import json
from collections import Counter
from pathlib import Path

import pytest
from prepare_data import main

from espnet_psslm.data.audio import read_audio
from espnet_psslm.data.kaldi import read_table
from espnet_psslm.data.manifest import read_manifest
from espnet_psslm.recipe.voices.table import find_program_voices
from espnet_psslm.text.slu_answer import parse_answer

SIZES = "--num_text 200 --num_train 30 --num_sft 10 --num_dev 6 --num_test 12 --nj 2".split()
ESPEAK = [*SIZES, "--voices", "espeak"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_folders(here: Path) -> None:
    main(SIZES)
    sizes = {"train": 30, "train_sft": 10, "dev": 12, "dev_natural": 6, "test": 12}
    sizes["test_natural"] = 12
    speakers = {}
    for name, size in sizes.items():
        tables = {
            t: read_table(f"data/{name}/{t}") for t in ("wav.scp", "text", "utt2spk", "spk2utt")
        }
        rows = read_manifest(f"data/{name}/psslm.jsonl")
        assert len(tables["wav.scp"]) == size and len(rows) == 3 * size
        speakers[name] = set(tables["spk2utt"])
        assert {row["task"] for row in rows.values()} == {"ASR", "SLU_scenario", "SLU_action"}
        for row in rows.values():
            assert row["path"] == tables["wav.scp"][row["utt"]]
            assert row["GT"] == tables["text"][row["utt"]]
            assert row["voice"] == tables["utt2spk"][row["utt"]]
            assert 5 <= row["snr_db"] <= 30
            assert all(f" {e['filler']} " in f" {row['GT']} " for e in row["entities"])
    known = speakers["train"] | speakers["train_sft"] | speakers["dev"]
    assert not (speakers["test"] | speakers["test_natural"]) & known
    assert speakers["dev_natural"] < speakers["dev"]
    assert not speakers["dev"] & (speakers["train"] | speakers["train_sft"])
    texts = {name: sorted(read_table(f"data/{name}/text").values()) for name in sizes}
    assert texts["test"] == texts["test_natural"]
    assert not set(texts["test"]) & {*texts["train"], *texts["dev"]}
    assert set(texts["dev"]) == set(texts["dev_natural"])
    assert len(read_audio(next(iter(read_table("data/test/wav.scp").values())))) > 16000
    text = read_manifest("data/train_text/psslm.jsonl")
    assert not any("path" in row for row in text.values())
    assert Counter(row["task"] for row in text.values()) == {
        "ASR": 200, "SLU_scenario": 200, "SLU_action": 200,
    }  # fmt: skip
    known = set(read_table("data/train_text/text").values())
    other = Counter(row["task"] for row in text.values() if row["GT"] not in known)
    assert 60 < other["ASR"] < 130 and all(
        30 < other[f"SLU_{t}"] < 90 for t in ("scenario", "action")
    )
    assert all(row["GT"] == row["target"] for row in text.values() if row["task"] == "ASR")
    assert len(read_manifest("data/dev_text/psslm.jsonl")) == 18
    assert Path("data/test_engines").exists() == bool(find_program_voices())
    assert {row["GT"] for row in read_manifest("data/train/psslm.jsonl").values()} <= known
    assert not (here / "data/test_real").exists()


def test_the_same_options_give_the_same_bytes(here: Path) -> None:
    main(ESPEAK)
    first = _bytes(here / "data")
    assert not (here / "data/test_natural").exists() and not (here / "data/dev_natural").exists()
    main([*ESPEAK, "--nj", "1", "--datadir", "again"])
    again = {
        name: content.replace(b"again/", b"data/")
        for name, content in _bytes(here / "again").items()
    }
    assert again == first
    main([*ESPEAK, "--seed", "2"])
    assert _bytes(here / "data") != first


def test_entities_are_a_task_where_asked_for(here: Path, shared_data: Path) -> None:
    real = ["--real_train", str(shared_data / "picovoice_s2i/devel.jsonl")]
    main([*ESPEAK, *real, "--slu_entities", "true"])
    for name, size in {
        "train": 70,
        "dev": 6,
        "test": 12,
        "train_sft": 10,
        "train_text": 240,
    }.items():
        rows = read_manifest(f"data/{name}/psslm.jsonl").values()
        rows = [row for row in rows if row["task"] == "SLU_entities"]
        assert len(rows) == size
        for row in rows:
            answer = parse_answer(row["target"])
            assert [{"type": k, "filler": f} for k, f in answer.entities] == row["entities"]


def test_real_recordings(here: Path, shared_data: Path) -> None:
    folder = shared_data / "picovoice_s2i"
    real = ["--real_train", str(folder / "devel.jsonl"), "--real_data", str(folder / "test.jsonl")]
    main([*ESPEAK, *real])
    assert len(read_table("data/train/wav.scp")) == 30 + 40
    assert len(read_table("data/test_real/wav.scp")) == 60
    text = read_manifest("data/train_text/psslm.jsonl")
    assert len(text) == 600 + 3 * 40
    real_keys = [key for key in text if key.startswith("text-real-")]
    assert len(real_keys) == 120
    assert json.loads(Path("data/statistics.json").read_text())["real"] == {
        "train": 40,
        "test": 60,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num_text", "20"], "--num_text 20 is less than"),
        (["--real_train", "bad.jsonl"], "bad.jsonl:1: no JSON"),
        (["--real_data", "none.jsonl"], "none.jsonl does not exist"),
    ],
)
def test_errors_are_one_clear_line_before_any_work(
    options: list[str], message: str, here: Path, capfd: pytest.CaptureFixture
) -> None:
    (here / "bad.jsonl").write_text("oops\n")
    with pytest.raises(SystemExit) as stop:
        main([*SIZES, *options])
    assert stop.value.code == 1
    error = capfd.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1
    assert not (here / "data").exists()
