"""From a pack and a text to a pack, on tiny random models."""

import itertools
import json
import shutil
import zipfile

import pytest
import torch
import yaml

from espnet_psslm.bin.adapt import main
from espnet_psslm.pack_files import open_pack
from tests.fake_acoustic import LevelAcoustic
from tests.helpers import run_and_fail, save_simulator, write_jsonl
from tests.unit.inference import test_speech2text as plain_packs

world = plain_packs.world
WORDS = ("low", "mid", "high")
TEXTS = [" ".join(words) for n in (2, 3) for words in itertools.product(WORDS, repeat=n)]
UNSEEN_TEXT = "high high high high"
UNSEEN = {"key": "unseen", "task": "ASR", "target": UNSEEN_TEXT, "GT": UNSEEN_TEXT}
NEW_PROMPT = {"task": "pitch", "prompt": "How high is it?"}


@pytest.fixture(scope="module")
def packs(world):
    """``model.zip`` carries no sentence, ``replay.zip`` those of its training."""
    from espnet_psslm.bin import pack

    options = ["--psslm_train_config", world / "exp/config.yaml"]
    options += ["--psslm_model_file", world / "exp/valid.loss.ave.pth"]
    options += ["--replay", world / "psslm.jsonl", "--outpath", world / "replay.zip"]
    write_jsonl(world / "unseen.jsonl", [UNSEEN])
    options += ["--replay_held_out", world / "unseen.jsonl"]
    pack.main([str(word) for word in options])
    write_jsonl(world / "pitch.jsonl", [NEW_PROMPT])
    rows = [{"text": text, "task": "pitch", "target": text.split()[0]} for text in TEXTS]
    write_jsonl(world / "domain.jsonl", rows)
    return world


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def command(packs, output, *more):
    options = ["--model", packs / "replay.zip", "--text", packs / "domain.jsonl"]
    options += ["--prompts", packs / "pitch.jsonl", "--output", output, "--device", "cpu"]
    return [str(word) for word in [*options, "--minutes", "0.01", *more]]


@pytest.fixture(scope="module")
def adapted(packs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder / "home"))
        main(command(packs, folder / "new.zip"))
    return folder / "new.zip"


def test_a_new_task_is_answered_and_the_old_ones_are(adapted, packs):
    from espnet_psslm.inference.speech2text import Speech2Text

    model = Speech2Text.from_pretrained(adapted, device="cpu", max_new_tokens=4)
    assert model.tasks == ["ASR", "SLU_scenario", "hotword", "pitch"]
    old, new = (
        torch.load(open_pack(x)["psslm_model_file"]) for x in (packs / "replay.zip", adapted)
    )
    assert old.keys() == new.keys()
    assert not all(torch.equal(value, new[name]) for name, value in old.items())


def test_the_new_pack_carries_both_texts_and_says_what_was_learnt(adapted):
    with zipfile.ZipFile(adapted) as archive:
        rows = [json.loads(line) for line in archive.read("replay.jsonl").splitlines()]
        card = archive.read("README.md").decode()
    assert {row["task"] for row in rows} == {"ASR", "pitch"}
    assert len({row["key"] for row in rows}) == len(rows)
    held_out = {row["GT"] for row in rows if row.get("held_out")}
    assert UNSEEN["GT"] in held_out and len(held_out & set(TEXTS)) == 4  # a tenth
    assert "new text, held out" in card and "old text" in card and "|-|" in card
    trained = {row["GT"] for row in rows if not row.get("held_out")}
    assert f"{len(trained)} sentences of the training" in card
    assert f"{len(held_out)} sentences that no training has seen" in card
    assert not adapted.with_suffix(".adapt").exists()


def test_a_stopped_run_goes_on_and_another_is_refused(packs, tmp_path, monkeypatch, capsys):
    from espnet_psslm.recipe.adaptation import adapt as module

    def stop(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_compare", stop)
        with pytest.raises(SystemExit):  # by Ctrl-C
            main(command(packs, tmp_path / "new.zip"))
    trained = tmp_path / "new.adapt/exp/1epoch.pth"
    before = trained.stat().st_mtime_ns
    said = run_and_fail(main, command(packs, tmp_path / "new.zip", "--seed", "1"), capsys)
    assert "unfinished adaptation of another model, text or option" in said
    main(command(packs, tmp_path / "new.zip"))
    assert (tmp_path / "new.zip").is_file() and before
    assert "new text, held out" in capsys.readouterr().out


def test_a_new_task_of_a_prefix_tuned_model_has_a_prefix_of_its_own(packs, tmp_path):
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    main(command(packs, first, "--tuning", "prefix"))
    write_jsonl(tmp_path / "length.jsonl", [{"task": "length", "prompt": "How long is it?"}])
    rows = [{"text": t, "task": "length", "target": str(len(t.split()))} for t in TEXTS]
    write_jsonl(tmp_path / "more.jsonl", rows)
    options = ["--model", first, "--prompts", tmp_path / "length.jsonl", "--output", second]
    options += ["--text", tmp_path / "more.jsonl", "--device", "cpu", "--minutes", "0.01"]
    main([str(word) for word in options])
    counts = []
    for archive in (first, second):
        state = torch.load(open_pack(archive)["psslm_model_file"])
        counts.append(sum(name.startswith("prefixes.tuned.") for name in state))
    assert counts == [5, 6]  # prompts: two of ASR, one of each other task


def test_a_learned_simulator_goes_on_in_the_new_pack(packs, tmp_path, monkeypatch):
    """It is in the old pack, wherever that lies; what is trained on is written ahead by it."""
    from espnet_psslm.bin import pack
    from espnet_psslm.data.preprocessor import PSSLMPreprocessor
    from espnet_psslm.steps.simulation import Learned
    from espnet_psslm.trained import read_config

    config = read_config(packs / "exp/config.yaml")
    conf = save_simulator(tmp_path / "simulator", config) | {"bins": {2: 1.0}}
    config |= {"simulator": "learned", "simulator_conf": conf}
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/config.yaml").write_text(yaml.safe_dump(config))
    options = ["--psslm_train_config", tmp_path / "exp/config.yaml"]
    options += ["--psslm_model_file", packs / "exp/valid.loss.ave.pth"]
    options += ["--replay", packs / "psslm.jsonl", "--outpath", tmp_path / "old.zip"]
    pack.main([str(word) for word in options])
    shutil.rmtree(tmp_path / "simulator")
    with zipfile.ZipFile(tmp_path / "old.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    moved = (tmp_path / "unpacked").rename(tmp_path / "moved")
    written, plain = [], PSSLMPreprocessor.write_ahead

    def write_ahead(self, rows):
        assert isinstance(self.simulator, Learned)
        plain(self, rows)
        written.append(len(self.written))

    monkeypatch.setattr(PSSLMPreprocessor, "write_ahead", write_ahead)
    main(command(packs, tmp_path / "new.zip", "--model", moved))
    assert written and all(written)
    files = open_pack(tmp_path / "new.zip")
    new = read_config(files["psslm_train_config"])
    assert new["simulator"] == "learned" and new["simulator_conf"]["bins"] == {2: 1.0}
    again = Learned(len(new["token_list"]), blank_id=0, **new["simulator_conf"])
    assert again.network.num_bins == 3


def test_without_sentences_of_the_old_training_it_is_said(packs, tmp_path, caplog):
    write_jsonl(tmp_path / "plain.jsonl", [{"text": text} for text in TEXTS])
    options = ["--model", packs / "model.zip", "--text", tmp_path / "plain.jsonl"]
    options += ["--output", tmp_path / "new.zip", "--device", "cpu", "--minutes", "0.01"]
    main([str(word) for word in [*options, "--tuning", "lora"]])
    assert "carries no sentences" in caplog.text
    state = torch.load(open_pack(tmp_path / "new.zip")["psslm_model_file"])
    assert any("lora_" in name for name in state)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--output", "new.tar"], "give an archive"),
        (["--model", "absent.zip"], "no such file"),
        (["--text", "absent.jsonl"], "absent.jsonl does not exist"),
        (["--prompts", "prompts.jsonl"], "the model has a prompt for ASR"),
    ],
)
def test_a_bad_option_is_one_line(packs, tmp_path, monkeypatch, capsys, change, said):
    monkeypatch.chdir(packs)
    assert said in run_and_fail(main, command(packs, tmp_path / "new.zip", *change), capsys)
    assert not list(tmp_path.glob("*.zip"))


def test_the_old_model_is_never_overwritten(packs, capsys):
    before = (packs / "replay.zip").read_bytes()
    said = run_and_fail(main, command(packs, packs / "replay.zip"), capsys)
    assert "never touched" in said
    assert (packs / "replay.zip").read_bytes() == before


def test_errors_are_measured_on_given_recordings(packs, tmp_path, monkeypatch):
    """An acoustic model that hears every text's first unit twice and the rest as it is."""
    from espnet_psslm.data.release import read_recordings
    from espnet_psslm.recipe.adaptation import measured
    from espnet_psslm.text.units import SentencePieceUnits
    from espnet_psslm.trained import read_config

    config = read_config(packs / "exp/config.yaml")
    units = SentencePieceUnits(config["token_list"], bpemodel=config["bpemodel"])
    recordings = read_recordings(packs / "psslm.jsonl")
    texts = iter([units.encode(utterance.text) for utterance in recordings])

    class Acoustic(LevelAcoustic):
        def encode_frames(self, speech, speech_lengths):
            first, *rest = next(texts)
            frames = [first, 0, first, *(x for unit in rest for x in (0, unit))]
            return torch.tensor(frames)[None, :, None], torch.tensor([len(frames)])

    acoustic = Acoustic(units.tokens)
    monkeypatch.setattr(measured, "build_acoustic", lambda *_: acoustic)
    found = measured.measure_errors(config, recordings, units=units, device=torch.device("cpu"))
    num_units = sum(len(units.encode(utterance.text)) for utterance in recordings)
    assert found["num_aligned"] == num_units
    assert found["insert_rate"] == (len(recordings) + 1) / num_units
    assert found["substitute_rate"] == found["delete_rate"] == 1 / num_units
