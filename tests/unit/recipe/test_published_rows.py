"""The published system's rows, read as Steps: hand-drawn files in its layout."""

import json

import numpy as np
import pytest
import torch

from espnet_psslm.bin.import_steps import main
from espnet_psslm.bridge.steps_file import read_made, read_steps
from tests.helpers import run_and_fail, write_jsonl

V = 7


def save(path, ids, values, *, width=V, flat=False):
    ids, values = np.array(ids, np.int32), np.array(values, np.float16)
    rows = {"psd_indices": ids, "psd_values": values, "shape": [len(ids), width]}
    if flat:
        rows |= {name: rows[name].flatten() for name in ("psd_indices", "psd_values")}
    torch.save(rows | {"text_ids": np.array([1, 2], np.int32)}, path)


@pytest.fixture
def command(tmp_path):
    (tmp_path / "tokens.txt").write_text(
        "".join(f"{t}\n" for t in ("<blank>", "<unk>", *"abcd", "<sos/eos>"))
    )

    def options(*rows):
        common = {"task": "ASR", "target": "ab", "GT": "ab"}
        numbered = [{"key": f"utt{i}"} | common | row for i, row in enumerate(rows)]
        manifest = write_jsonl(tmp_path / "multitask.jsonl", numbered)
        return [
            *("--manifest", str(manifest), "--output_dir", str(tmp_path / "steps")),
            *("--token_type", "list", "--token_list", str(tmp_path / "tokens.txt")),
        ]

    return options


def test_simulated_rows_go_before_heard_ones(command, tmp_path):
    save(tmp_path / "heard.pt", [[1, 0, 3]], [[0.75, 0.125, 0.0625]], flat=True)
    # Of a simulator: the end, number 7, is likely in the last row.
    sim = [[2, 0, 1], [3, 7, 0]], [[0.5, 0.25, 0.125], [0.5, 0.375, 0.0625]]
    save(tmp_path / "sim.pt", *sim, width=V + 1)
    heard = {"psd_path": str(tmp_path / "heard.pt"), "path": "a.wav"}
    main(command(heard, heard | {"sim_psd_path": "sim.pt"}))
    lines = (tmp_path / "steps/psslm.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert first.keys() == {"key", "task", "target", "GT", "path", "steps"}
    made = read_made(first["steps"].rpartition(":")[0])  # not how they were reduced
    assert made.keys() == {"step_kind", "units"} and made["units"].startswith("7 (")
    ids, probs, _ = read_steps(first["steps"])
    assert ids.tolist() == [[1, 0, 3]] and probs.tolist() == [[0.75, 0.125, 0.0625]]
    ids, probs, spans = read_steps(second["steps"])
    assert ids[0].tolist() == [2, 0, 1] and probs[0].tolist() == [0.5, 0.25, 0.125]
    assert ids[1, :2].tolist() == [3, 0] and probs[1].tolist() == [0.5, 0.0625, 0.0]
    assert int(ids[1, 2]) in {1, 2, 4, 5, 6} and spans.tolist() == [[0, 1], [1, 2]]


def test_what_cannot_be_used_is_named(command, tmp_path, capsys):
    save(tmp_path / "other.pt", [[1, 0]], [[0.75, 0.125]], width=25055)
    torch.save({"weights": torch.zeros(2)}, tmp_path / "weights.pt")
    torch.save({"psd_indices": run_and_fail}, tmp_path / "code.pt")
    for row, said in (
        ({}, "names no rows; a field sim_psd_path or psd_path must"),
        ({"psd_path": "other.pt"}, "its rows are of 25055 units, the vocabulary has 7"),
        ({"psd_path": "gone.pt"}, "gone.pt holds no rows of the published layout"),
        ({"psd_path": "weights.pt"}, "weights.pt holds no rows of the published layout"),
        ({"psd_path": "code.pt"}, "code.pt holds no rows of the published layout"),
    ):
        message = run_and_fail(main, command(row), capsys)
        assert "multitask.jsonl, 'utt0': " in message and said in message
        assert not list((tmp_path / "steps").glob("*.ark"))
