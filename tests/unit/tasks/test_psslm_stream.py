"""Training from shards through ESPnet's trainer, on a tiny random language model."""

import json

import pytest
import torch
import yaml

from tests.helpers import text_rows, write_jsonl
from tests.tiny_training import BRIEF, bridge_files


@pytest.fixture(scope="module")
def options(lm_folder, units_folder, prompt_file, tmp_path_factory):
    """Command line of a tiny training: sixteen rows in two shards, batches of four."""
    folder = tmp_path_factory.mktemp("stream")
    (folder / "shards").mkdir()
    write_jsonl(folder / "shards/a.jsonl", text_rows("ASR"))
    write_jsonl(folder / "shards/b.jsonl", text_rows("SLU_scenario"))
    valid = write_jsonl(folder / "valid.jsonl", text_rows("ASR")[:2])
    (folder / "valid.shape").write_text("utt0-ASR 40\nutt1-ASR 42\n")
    files = bridge_files(lm=lm_folder, units=units_folder, prompts=prompt_file)
    config = BRIEF | files | {"projector_conf": {"hidden": 16}, "optim_conf": {"lr": 1e-2}}
    config |= {"batch_type": "sorted", "batch_size": 4, "keep_nbest_models": 10}
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    return folder, [
        *("--config", str(folder / "train.yaml"), "--seed", "3"),
        *("--train_data_path_and_name_and_type", f"{folder}/shards,sample,psslm_shards"),
        *("--valid_data_path_and_name_and_type", f"{valid},sample,psslm_jsonl"),
        *("--valid_shape_file", str(folder / "valid.shape")),
    ]


def train(options, output, *more):
    from espnet_psslm.bin.psslm_train import main

    main([*options, "--output_dir", str(output), *more])


def weights(path):
    return torch.load(path, weights_only=True)


def training(seen):
    """Without the batch of validation."""
    return [batch for batch in seen if len(batch) > 2]


def test_training_sees_every_row_and_resumes_at_the_next(options, seen, tmp_path):
    """Epochs of three batches: a pass of four ends within the second."""
    _, common = options
    common = [*common, "--num_iters_per_epoch", "3"]
    train(common, tmp_path / "once", "--max_epoch", "4")
    straight = training(seen)
    assert [len(batch) for batch in straight] == [4] * 12
    rows = sorted(row["key"] for row in text_rows("ASR") + text_rows("SLU_scenario"))
    for pass_ in (straight[:4], straight[4:8], straight[8:]):
        assert sorted(key for batch in pass_ for key in batch) == rows
    ends = json.loads((tmp_path / "once/text_stream.json").read_text())["ends"]
    assert ends == {"0": [0, 0, 0], "1": [0, 0, 3], "2": [1, 0, 2], "3": [2, 0, 1], "4": [3, 0, 0]}
    seen.clear()
    train(common, tmp_path / "twice", "--max_epoch", "2")
    train(common, tmp_path / "twice", "--max_epoch", "4", "--resume", "true")
    assert training(seen) == straight
    once, twice = (weights(tmp_path / name / "4epoch.pth") for name in ("once", "twice"))
    assert once.keys() == twice.keys() and len(once) > 3
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_rows_without_a_unit_are_left_out_and_named(options, seen, tmp_path, caplog):
    folder, common = options
    rows = text_rows("ASR")
    shard = write_jsonl(tmp_path / "a.jsonl", [*rows[:4], rows[4] | {"GT": "?!"}, *rows[5:]])
    common = [option.replace(f"{folder}/shards", str(shard)) for option in common]
    train(common, tmp_path / "exp", "--max_epoch", "1")
    keys = [key for batch in training(seen) for key in batch]
    assert sorted(keys) == sorted(row["key"] for row in rows if row["key"] != rows[4]["key"])
    assert (
        f"1 rows are left out: no unit of the vocabulary is in their transcripts: {rows[4]['key']}"
        in caplog.text
    )


def test_what_is_saved_is_trained_and_whole(options, tmp_path):
    """Also what training resumes from; no file is left half."""
    _, common = options
    train(common, tmp_path / "exp", "--max_epoch", "1")
    files = {path.name for path in (tmp_path / "exp").iterdir()}
    assert {"checkpoint.pth", "1epoch.pth", "text_stream.json"} <= files
    assert not any(name.endswith(".tmp") for name in files)
    saved = weights(tmp_path / "exp/checkpoint.pth")
    model = weights(tmp_path / "exp/1epoch.pth")
    assert saved["model"].keys() == model.keys()
    assert {name.split(".")[0] for name in model} == {"projector"}
    (optimizer,) = saved["optimizers"]
    assert len(optimizer["state"]) == len(model)  # moments of what is trained


def test_epoch_is_a_pass(options, seen, tmp_path):
    _, common = options
    train([*common, "--batch_type", "unsorted"], tmp_path / "exp", "--max_epoch", "2")
    assert [len(batch) for batch in training(seen)] == [4] * 8


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--batch_type", "numel"], "batch_type: numel with shards"),
        (["--audio_share", "0.5"], "text only: leave it out"),
        (["--collect_stats", "true"], "leave --collect_stats out"),
        (["--stream_conf", "buffer_mb=0"], r"buffer_mb (0) must be above 0"),
        (["--train_data_path_and_name_and_type", "a.jsonl,more,psslm_jsonl"], "give one FOLDER"),
    ],
)
def test_what_does_not_go_with_shards_is_one_line(options, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit):
        train(options[1], tmp_path, *more)
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_shards_are_not_validated_on(options, tmp_path, capsys):
    folder, common = options
    common = [
        text.replace("valid.jsonl,sample,psslm_jsonl", "shards,sample,psslm_shards")
        for text in common
    ]
    with pytest.raises(SystemExit):
        train(common, tmp_path)
    assert "validate on a manifest" in capsys.readouterr().err.splitlines()[-1]
