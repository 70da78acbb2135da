import csv
import json

import pytest
import torch
import yaml

from espnet_psslm.bin.simulation_distance import main
from espnet_psslm.bridge.measure import measure
from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.bridge.steps_file import StepsWriter
from espnet_psslm.text.units import SentencePieceUnits
from tests.helpers import SENTENCES, write_jsonl


@pytest.fixture
def dump(units_folder, tmp_path):
    """Steps of a sure acoustic model that mistakes nothing; measured numbers; options."""
    units = SentencePieceUnits(units_folder / "tokens.txt", bpemodel=units_folder / "bpe.model")
    rows, heard = [], []
    with StepsWriter(tmp_path / "steps.ark", {}) as writer:
        for index, text in enumerate(SENTENCES):
            ids = torch.tensor(units.encode(text))
            places = torch.arange(len(ids))[None]
            steps = PosteriorSteps(
                ids[None, :, None],
                torch.ones(1, len(ids), 1),
                torch.tensor([len(ids)]),
                units.num_units,
                places,
                places + 1,
            )
            writer.write_batch([f"utt{index}"], steps)
            heard.append((ids.tolist(), ids[:, None], torch.full((len(ids), 1), 0.9)))
    for index, text in enumerate(SENTENCES):
        for task in ("ASR", "SLU_scenario"):
            row = {"key": f"utt{index}-{task}", "utt": f"utt{index}", "task": task, "target": text}
            rows.append(row | {"GT": text, "steps": writer.locations[f"utt{index}"]})
    measured = measure(heard, num_units=units.num_units, blank_id=units.blank_id)
    (tmp_path / "simulation.yaml").write_text(yaml.safe_dump(measured))
    return [
        *("--steps_manifest", str(write_jsonl(tmp_path / "psslm.jsonl", rows))),
        *("--token_list", str(units_folder / "tokens.txt")),
        *("--bpemodel", str(units_folder / "bpe.model")),
        *("--output_dir", str(tmp_path / "out")),
    ]


def test_table_and_picture(dump, tmp_path, caplog):
    caplog.set_level("INFO")
    main([*dump, "--measured", str(tmp_path / "simulation.yaml")])
    with open(tmp_path / "out/distance.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * len(SENTENCES)
    means = {}
    for name in ("one-hot", "tasu", "measured"):
        mine = [row for row in rows if row["simulator"] == name]
        assert [row["utt"] for row in mine] == [f"utt{i}" for i in range(len(SENTENCES))]
        means[name] = sum(float(row["jensen_shannon"]) for row in mine) / len(mine)
        if name == "one-hot":
            assert {float(row["edit_distance"]) for row in mine} == {0.0}
            assert {float(row["argmax_agreement"]) for row in mine} == {1.0}
    assert means["one-hot"] == pytest.approx(0, abs=1e-9)
    assert means["tasu"] > 0.001 and means["measured"] > 0.001
    assert (tmp_path / "out/distance.png").stat().st_size > 1000
    assert "tasu: jensen_shannon 0." in caplog.text
    judged = json.loads((tmp_path / "out/judgement.json").read_text())
    assert judged.keys() == {"tasu", "measured"}
    for figures in judged.values():
        assert figures["disagreement"] == 0.0 and figures["heard_error_rate"] == 0.0
        assert figures["cross_entropy"] < 0.5 and figures["heard_length_ratio"] == 1.0
    first = (tmp_path / "out/distance.csv").read_bytes()
    main([*dump, "--measured", str(tmp_path / "simulation.yaml")])
    assert (tmp_path / "out/distance.csv").read_bytes() == first


def test_without_measured_numbers(dump, tmp_path, capsys):
    main(dump)
    with open(tmp_path / "out/distance.csv", newline="") as stream:
        assert {row["simulator"] for row in csv.DictReader(stream)} == {"one-hot", "tasu"}
    with pytest.raises(SystemExit):
        main([*dump, "--measured", str(tmp_path / "none.yaml")])
    assert "none.yaml: no such file; stage 9" in capsys.readouterr().err
