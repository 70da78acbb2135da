"""The learned simulator from its training to the training of the bridge, on tiny models."""

from functools import partial

import numpy as np
import pytest
import torch
import yaml

from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.bridge.steps_file import StepsWriter
from espnet_psslm.steps.error_bins import UNKNOWN_BIN, error_bin
from espnet_psslm.steps.learned import most_rows
from espnet_psslm.steps.made import OtherSteps
from espnet_psslm.steps.simulation import Learned
from espnet_psslm.text.sensevoice_units import SenseVoiceUnits
from espnet_psslm.text.units import SentencePieceUnits
from tests.helpers import SENTENCES, run_and_fail, save_simulator, text_rows, write_jsonl
from tests.tiny_training import BRIEF, bridge_command
from tests.whole_files import MADE

SMALL = {"width": 16, "layers": 1, "heads": 2, "hidden": 16, "num_listed": 4}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, units_folder):
    """An experiment folder of ``simulator_train``, and the options of ``simulator: learned``."""
    from espnet_psslm.bin.simulator_train import main

    folder = tmp_path_factory.mktemp("simulator")
    units = SentencePieceUnits(
        units_folder / "tokens.txt", bpemodel=str(units_folder / "bpe.model")
    )
    with StepsWriter(folder / "steps.ark", MADE) as writer:
        for number, sentence in enumerate(SENTENCES):
            ids = torch.tensor(units.encode(sentence))[:, None]
            steps = PosteriorSteps(
                torch.cat([ids, (ids + 1) % units.num_units], 1)[None],
                torch.tensor([0.9, 0.05]).expand(1, len(ids), 2),
                torch.tensor([len(ids)]),
                units.num_units,
                frame_start=torch.arange(len(ids))[None],
                frame_end=torch.arange(1, len(ids) + 1)[None],
            )
            writer.write_batch([f"utt{number}"], steps)
    rows = [
        row | {"steps": writer.locations[f"utt{number}"]} for number, row in enumerate(text_rows())
    ]
    write_jsonl(folder / "steps.jsonl", rows)
    config = BRIEF | {
        "network_conf": SMALL,
        "batch_type": "sorted",
        "batch_size": 4,
        "token_list": str(units_folder / "tokens.txt"),
        "bpemodel": str(units_folder / "bpe.model"),
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    command = ["--config", folder / "train.yaml", "--output_dir", folder / "exp"]
    for part in ("train", "valid"):
        data = f"{folder / 'steps.jsonl'},sample,psslm_jsonl"
        command += [f"--{part}_data_path_and_name_and_type", data]
    main([str(word) for word in command])
    conf = {
        "train_config": str(folder / "exp/config.yaml"),
        "model_file": str(folder / "exp/valid.loss.ave.pth"),
    }
    return conf, units


def test_it_knows_how_the_steps_were_made_that_it_has_learnt_from(trained):
    conf, units = trained
    options = conf | {"blank_id": units.blank_id}
    measured = {"made": MADE | {"units": "50 (0)"}}
    assert Learned(units.num_units, **options, measured=measured).made == MADE
    measured["made"]["blank_threshold"] = 0.9
    said = "has learnt was made with blank_threshold 0.5, here it is blank_threshold 0.9"
    with pytest.raises(OtherSteps, match=said):
        Learned(units.num_units, **options, measured=measured)


@pytest.fixture(scope="module")
def learned(trained):
    conf, units = trained
    return Learned(units.num_units, blank_id=units.blank_id, bins={1: 2.0, 3: 1.0}, **conf)


def texts_of(units):
    return [[], *(units.encode(sentence) for sentence in SENTENCES)]


def test_many_texts_are_heard_as_one_by_one(learned, trained):
    texts = texts_of(trained[1])
    rows = learned.together(texts, map(np.random.default_rng, range(len(texts))))
    for seed, (text, (ids, probs)) in enumerate(zip(texts, rows, strict=True)):
        alone = learned(text, np.random.default_rng(seed))
        np.testing.assert_array_equal(alone[0], ids)
        np.testing.assert_allclose(alone[1], probs, atol=1e-5)
        assert len(ids) <= most_rows(len(text)) and bool(len(ids)) == bool(text)


def test_a_text_is_heard_anew_each_time(learned, trained):
    text = trained[1].encode(SENTENCES[0])
    rng = np.random.default_rng(0)
    heard = {learned(text, rng)[0].tobytes() for _ in range(5)}
    assert len(heard) > 1
    assert {learned.draw(3, rng)[0] for _ in range(50)} == {1, 3}


def test_without_bins_the_network_decides(trained):
    conf, units = trained
    plain = Learned(units.num_units, blank_id=units.blank_id, **conf)
    assert plain.draw(2, np.random.default_rng(0))[0] == UNKNOWN_BIN


def drawn_bins(simulator, epoch):
    simulator.epoch = epoch
    rng = np.random.default_rng(0)
    return {simulator.draw(2, rng)[0] for _ in range(50)}


def test_bins_are_asked_for_as_often_as_they_were_measured(trained):
    conf, units = trained
    measured = {"error_bins": {2: 0.75, 3: 0.25}}
    build = partial(Learned, units.num_units, blank_id=units.blank_id, measured=measured, **conf)
    rng = np.random.default_rng(0)
    drawn = [build().draw(2, rng)[0] for _ in range(400)]
    assert set(drawn) == {2, 3} and 0.68 < drawn.count(2) / 400 < 0.82
    assert drawn_bins(build(bins={1: 1.0}), 0) == {1}  # what a configuration says goes first


def test_bins_may_change_with_the_epoch(trained):
    conf, units = trained
    by_epoch = {5: {3: 1.0}, 3: {2: 1.0, 3: 1.0}}
    simulator = Learned(
        units.num_units, blank_id=units.blank_id, bins={1: 1.0}, bins_by_epoch=by_epoch, **conf
    )
    found = {epoch: drawn_bins(simulator, epoch) for epoch in (0, 1, 2, 3, 4, 5, 9)}
    assert found == {0: {1}, 1: {1}, 2: {1}, 3: {2, 3}, 4: {2, 3}, 5: {3}, 9: {3}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bins_by_epoch": {2: {7: 1.0}}}, r"bins_by_epoch.2: \[7\] is unknown; use 1 to 3"),
        ({"bins": {4: 1.0}}, r"bins: \[4\] is unknown; use 1 to 3"),
        ({"bins": {1: -1.0}}, "have no sense"),
        ({"model_file": "gone.pth"}, "no file gone.pth; simulator_train makes it"),
    ],
)
def test_bad_options_are_named(trained, change, said):
    conf, units = trained
    with pytest.raises(ValueError, match=said):
        Learned(units.num_units, blank_id=units.blank_id, **conf | change)


def test_other_units_are_refused(trained):
    with pytest.raises(ValueError, match="the vocabulary has 7"):
        Learned(7, blank_id=0, **trained[0])


def test_units_that_no_list_names(units_folder, tmp_path):
    """SenseVoice's are those of its SentencePiece model."""
    units = SenseVoiceUnits(units_folder / "bpe.model")
    config = {"token_type": "sensevoice", "bpemodel": str(units_folder / "bpe.model")}
    conf = save_simulator(tmp_path / "simulator", config)
    simulator = Learned(units.num_units, blank_id=units.blank_id, **conf)
    assert simulator.network.num_units == units.num_units


def test_error_bins_are_those_of_the_paper():
    text = list(range(2, 22))
    assert error_bin(text, text) == 1
    assert error_bin(text, [*text[:-4], *[1] * 4]) == 2
    assert error_bin(text, text[:10]) == 3
    assert error_bin(text, []) == 3
    assert error_bin(text, [*text[:18], 1, *text[19:]]) == 1
    assert error_bin(text, [1, *text, 1, 1]) == 2
    assert error_bin(text, [*text, *[1] * 40]) == UNKNOWN_BIN


def test_a_row_without_dumped_steps_is_named(trained, tmp_path, capsys):
    from espnet_psslm.bin.simulator_train import main

    write_jsonl(tmp_path / "text.jsonl", text_rows())
    data = ["--train_data_path_and_name_and_type", "--valid_data_path_and_name_and_type"]
    source = f"{tmp_path / 'text.jsonl'},sample,psslm_jsonl"
    command = ["--config", trained[0]["train_config"].replace("exp/config.yaml", "train.yaml")]
    command += ["--output_dir", str(tmp_path / "exp"), data[0], source, data[1], source]
    said = run_and_fail(main, command, capsys)
    assert "utt" in said and "give the manifest that stage 8" in said


@pytest.fixture
def bridge(trained, tmp_path, lm_folder, prompt_file):
    """Options of the bridge's training on text, simulated by the network."""
    conf, _ = trained
    config = yaml.safe_load(open(conf["train_config"], encoding="utf-8"))
    settings = BRIEF | {
        "source": "text",
        "simulator": "learned",
        "reduction": MADE["reduction"],
        "reduction_conf": {"blank_threshold": MADE["blank_threshold"]},
        "simulator_conf": {**conf, "bins_by_epoch": {1: {1: 1.0}, 2: {2: 1.0}}},
        "llm_conf": {"name": str(lm_folder)},
        "projector_conf": {"hidden": 16},
        "token_list": config["token_list"],
        "bpemodel": config["bpemodel"],
        "prompt_file": str(prompt_file),
        "batch_type": "unsorted",
        "batch_size": 4,
        "max_epoch": 2,
        "num_iters_per_epoch": 1,
    }
    rows = write_jsonl(tmp_path / "text.jsonl", text_rows())
    return bridge_command(tmp_path / "exp", settings, rows), tmp_path


def test_the_bridge_trains_on_what_is_written_ahead(bridge, monkeypatch):
    """Each sample is what the network would write for it alone; each epoch's are its own."""
    from espnet_psslm.bin.psslm_train import main
    from espnet_psslm.data.preprocessor import PSSLMPreprocessor

    command, folder = bridge
    ahead, plain = [], PSSLMPreprocessor.speech_side

    def compare(self, row, rng):
        given = plain(self, row, rng)
        if self.train:
            found = self.written.pop((row["key"], row["GT"]))
            alone = plain(self, row, rng)
            np.testing.assert_array_equal(found[0], alone["unit_ids"])
            np.testing.assert_allclose(found[1], alone["probs"], atol=1e-5)
            np.testing.assert_array_equal(found[0], given["unit_ids"])
            ahead.append((self.epoch, row["key"]))
            assert self.simulator.epoch == self.epoch
        return given

    monkeypatch.setattr(PSSLMPreprocessor, "speech_side", compare)
    main(command)
    assert len(ahead) == 8 and {epoch for epoch, _ in ahead} == {1, 2}
    config = yaml.safe_load((folder / "exp/config.yaml").read_text())
    assert config["simulator"] == "learned"


def test_lengths_for_batches_are_not_written_by_the_network(bridge, monkeypatch):
    """It would take as long as training: stage 10 goes through all rows."""
    from espnet_psslm.bin.psslm_train import main

    def written(self, texts, drawn):
        raise AssertionError("the network is asked")

    monkeypatch.setattr(Learned, "together", written)
    command, folder = bridge
    main([*command, "--collect_stats", "true"])
    assert len((folder / "exp/train/length_shape").read_text().splitlines()) == len(text_rows())


def test_a_pack_carries_the_simulator(bridge, trained, tmp_path):
    from espnet_psslm.recipe.packing import Contents

    command, folder = bridge
    (folder / "staging").mkdir()
    contents = Contents(folder / "staging")
    member = contents.add_config(folder / "exp/given.yaml", "psslm/config.yaml")
    packed = yaml.safe_load((folder / "staging" / member).read_text())["simulator_conf"]
    inner = yaml.safe_load((folder / "staging" / packed["train_config"]).read_text())
    assert (folder / "staging" / packed["model_file"]).read_bytes()
    assert inner["bpemodel"].startswith("units/")
    assert inner["network_conf"] == SMALL
