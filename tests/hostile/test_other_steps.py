"""Steps that were made otherwise than the bridge makes its own: refused wherever they are read."""

import json

import pytest
import torch
import yaml

from espnet_psslm.bin import (
    check_reduction,
    dump_steps,
    psslm_inference,
    psslm_train,
    simulation_distance,
    simulation_stats,
    simulator_pairs,
)
from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.bridge.steps_file import StepsWriter, read_made
from espnet_psslm.text.units import SentencePieceUnits
from tests.helpers import write_jsonl
from tests.refusal import refusal

SETTINGS = {"reduction": "drop_then_merge", "reduction_conf": {"blank_threshold": 0.9}}
OTHER = "was made with blank_threshold 0.5, here it is blank_threshold 0.9: run stage 8"


class Folder:
    """Dumps, and options of what reads them."""

    def __init__(self, system, folder):
        self.system, self.folder = system, folder
        (folder / "bridge.yaml").write_text(yaml.safe_dump(system.bridge_config(**SETTINGS)))
        self.units = [f"--token_list={system.folder}/units/tokens.txt"]
        self.units += [f"--bpemodel={system.folder}/units/bpe.model"]

    def dump(self, name, *more):
        """The manifest of a dump, for the bridge's configuration but for what is given."""
        output = self.folder / name
        options = [*self.system.ctc, "--data_dir", self.system.folder, "--output_dir", output]
        options += ["--psslm_config", self.folder / "bridge.yaml", "--device", "cpu", *more]
        dump_steps.main([str(word) for word in options])
        return output / "psslm.jsonl"

    def train(self, manifest, **changes):
        """Command line of the bridge's training on a dump."""
        rows = [[str(manifest), "sample", "psslm_jsonl"]]
        data = {f"{part}_data_path_and_name_and_type": rows for part in ("train", "valid")}
        changes = SETTINGS | data | changes
        return self.system.bridge_command(self.folder / "train", **changes)

    def heard_well(self, manifest):
        """What the same dump would be of a model that mistakes nothing."""
        files = self.system.folder / "units"
        units = SentencePieceUnits(files / "tokens.txt", bpemodel=files / "bpe.model")
        rows = rows_of(manifest)
        with StepsWriter(self.folder / "well/steps.ark", made_of(manifest)) as writer:
            for row in rows:
                ids = torch.tensor(units.encode(row["GT"]))[None, :, None]
                places, count = torch.arange(ids.shape[1])[None], torch.tensor([ids.shape[1]])
                probs = torch.full(ids.shape, 0.9)
                steps = PosteriorSteps(ids, probs, count, units.num_units, places, places + 1)
                writer.write_batch([row["key"]], steps)
        rows = [row | {"steps": writer.locations[row["key"]]} for row in rows]
        return write_jsonl(self.folder / "well/psslm.jsonl", rows)


@pytest.fixture
def folder(system, tmp_path):
    return Folder(system, tmp_path)


def rows_of(manifest):
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def made_of(manifest):
    return read_made(rows_of(manifest)[0]["steps"].rpartition(":")[0])


def test_a_dump_is_made_as_the_bridge_says(folder):
    made = made_of(folder.dump("plain"))
    assert (made["step_kind"], made["reduction"]) == ("posterior", "drop_then_merge")
    assert (made["blank_threshold"], made["max_units"]) == (0.9, 16)
    options = ("--reduction=merge_then_drop", "--reduction_conf=blank_threshold=0.5")
    made = made_of(folder.dump("other", *options, "--step_kind=feature"))
    assert (made["step_kind"], made["reduction"]) == ("feature", "merge_then_drop")
    assert made["blank_threshold"] == 0.5


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.long)])
def test_training_refuses_another(folder, capsys, workers):
    manifest = folder.dump("other", "--reduction_conf=blank_threshold=0.5")
    said = refusal(psslm_train.main, folder.train(manifest, num_workers=workers), capsys)
    assert f"{folder.folder}/other/steps-" in said and OTHER in said
    command = folder.train(manifest, num_workers=workers)
    psslm_train.main([*command, "--reduction_conf", "blank_threshold=0.5"])
    trained = folder.folder / "train/exp"
    bridge = ["--psslm_train_config", trained / "config.yaml"]
    bridge += ["--psslm_model_file", trained / "valid.loss.ave.pth"]
    decode(folder, manifest, *bridge)
    again = folder.dump("again", "--psslm_config", trained / "config.yaml")
    assert made_of(again) == made_of(manifest)


def decode(folder, manifest, *bridge):
    options = [*bridge, "--manifest", manifest, "--output_dir", folder.folder / "decode"]
    options += ["--device", "cpu", "--max_new_tokens", "3", "--beam_size", "1"]
    psslm_inference.main([str(word) for word in options])


def test_decoding_refuses_another(folder, capsys):
    """All at once, not row by row: nothing is written."""
    manifest = folder.dump("same")
    psslm_train.main(folder.train(manifest))
    trained = folder.folder / "train/exp"
    bridge = ["--psslm_train_config", trained / "config.yaml"]
    bridge += ["--psslm_model_file", trained / "valid.loss.ave.pth"]
    decode(folder, manifest, *bridge)
    other = folder.dump("other", "--reduction_conf=blank_threshold=0.5")
    (folder.folder / "decode").rename(folder.folder / "decoded")
    said = refusal(lambda words: decode(folder, other, *words), bridge, capsys)
    assert f"{folder.folder}/other/steps-" in said and OTHER in said
    assert not list((folder.folder / "decode").glob("**/text"))


def test_a_bridge_that_was_trained_with_another(folder, capsys):
    saved = folder.system.folder / "bridge/config.yaml"
    command = ["--psslm_train_config", str(saved)]
    check_reduction.main([*command, "--reduction_conf=blank_threshold=0.9"])  # as by default
    said = refusal(check_reduction.main, [*command, "--reduction_conf=blank_threshold=0.5"], capsys)
    assert f"the bridge of {saved} was made with blank_threshold 0.9, here it is bl" in said
    said = refusal(check_reduction.main, [*command, "--reduction=frame_sync"], capsys)
    assert "was made with reduction merge_then_drop, here it is reduction frame_sync: run" in said


def test_what_was_measured_on_another_is_refused(folder, capsys):
    other = folder.dump("other", "--reduction_conf=blank_threshold=0.5")
    measured = folder.folder / "simulation.yaml"
    options = ["--steps_manifest", str(folder.heard_well(other)), *folder.units]
    simulation_stats.main([*options, "--output", str(measured)])
    assert yaml.safe_load(measured.read_text())["made"] == made_of(other)
    conf = {"simulator": "measured", "simulator_conf": {"measured": str(measured)}}
    command = folder.system.bridge_command(folder.folder / "train", **SETTINGS, **conf)
    said = refusal(psslm_train.main, command, capsys)
    assert f"what simulator: measured imitates {OTHER}" in said
    psslm_train.main([*command, "--reduction_conf", "blank_threshold=0.5"])

    same = folder.dump("same")
    options = ["--steps_manifest", str(same), *folder.units]
    options += ["--measured", str(measured), "--output_dir", str(folder.folder / "judged")]
    said = refusal(simulation_distance.main, options, capsys)
    assert "was made with blank_threshold 0.9, here it is blank_threshold 0.5" in said


def test_pairs_of_one_kind(folder, capsys):
    same = folder.dump("same")
    other = folder.dump("other", "--reduction_conf=blank_threshold=0.5")
    pairs = ["--output", str(folder.folder / "pairs.jsonl"), *folder.units]
    said = refusal(
        simulator_pairs.main, ["--steps_manifest", str(same), str(other), *pairs], capsys
    )
    assert "was made with blank_threshold 0.5, here it is blank_threshold 0.9" in said


def test_other_units(folder, tmp_path, capsys):
    """As many, but not the same ones."""
    manifest = folder.dump("same")
    tokens = (folder.system.folder / "units/tokens.txt").read_text().splitlines()
    (tmp_path / "tokens.txt").write_text("\n".join([*tokens[:2], *tokens[-2:1:-1], tokens[-1]]))
    options = ["--token_type=list", f"--token_list={tmp_path}/tokens.txt"]
    options += ["--steps_manifest", str(manifest), "--output", str(tmp_path / "x.yaml")]
    said = refusal(simulation_stats.main, options, capsys)
    assert f"was made with units {len(tokens)} (" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("reduction_conf: 0.9\n", "reduction_conf: 0.9 is no section"),
        ("reduction: all\n", "reduction 'all' is unknown"),
        (
            "reduction_conf: {treshold: 1}\n",
            "['treshold'] is unknown; did you mean blank_threshold",
        ),
        ("- reduction\n", "holds no names and values"),
    ],
)
def test_a_bridge_that_cannot_be(folder, tmp_path, capsys, text, words):
    (tmp_path / "bridge.yaml").write_text(text)
    options = [*folder.system.ctc, "--data_dir", str(folder.system.folder)]
    options += ["--output_dir", str(tmp_path / "out"), "--psslm_config"]
    said = refusal(dump_steps.main, [*options, str(tmp_path / "bridge.yaml")], capsys)
    assert words in said
    assert not (tmp_path / "out/psslm.jsonl").exists()
