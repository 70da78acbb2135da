"""Training on text and dumped Steps in one batch, at a share."""

import pytest
import torch

from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.bridge.steps_file import StepsWriter
from espnet_psslm.text.units import SentencePieceUnits
from tests.helpers import text_rows, write_jsonl


@pytest.fixture
def options(lm_folder, units_folder, prompt_file, tmp_path):
    """Eight rows of text and three of dumped Steps to train on; text to validate on."""
    units = SentencePieceUnits(units_folder / "tokens.txt", bpemodel=units_folder / "bpe.model")
    rows = [row | {"key": f"text-{row['key']}"} for row in text_rows()]
    with StepsWriter(tmp_path / "steps.ark", {}) as writer:
        for row in text_rows()[:3]:
            ids = torch.tensor(units.encode(row["GT"]))
            places = torch.arange(len(ids))[None]
            sure = torch.ones(1, len(ids), 1)
            lengths = torch.tensor([len(ids)])
            steps = PosteriorSteps(
                ids[None, :, None], sure, lengths, units.num_units, places, places + 1
            )
            writer.write_batch([row["key"]], steps)
    rows += [
        row | {"key": f"steps-{row['key']}", "steps": writer.locations[row["key"]]}
        for row in text_rows()[:3]
    ]
    mixed = write_jsonl(tmp_path / "mixed.jsonl", rows)
    valid = write_jsonl(tmp_path / "valid.jsonl", text_rows())
    for path in (mixed, valid):
        shapes = [
            f"{row['key']} {40 + i}\n"
            for i, row in enumerate(rows if path == mixed else text_rows())
        ]
        path.with_suffix(".shape").write_text("".join(shapes))
    return [
        *(
            "--source",
            "no_audio",
            "--llm_conf",
            f"name={lm_folder}",
            "--projector_conf",
            "hidden=8",
        ),
        *("--prompt_file", str(prompt_file), "--token_list", str(units_folder / "tokens.txt")),
        *("--bpemodel", str(units_folder / "bpe.model"), "--output_dir", str(tmp_path / "exp")),
        *("--max_epoch", "2", "--batch_size", "4", "--batch_type", "sorted", "--num_workers", "0"),
        *("--use_matplotlib", "false", "--use_tensorboard", "false", "--num_att_plot", "0"),
        *("--best_model_criterion", "valid,loss,min", "--keep_nbest_models", "1"),
        *("--train_data_path_and_name_and_type", f"{mixed},sample,psslm_jsonl"),
        *("--valid_data_path_and_name_and_type", f"{valid},sample,psslm_jsonl"),
        *("--train_shape_file", str(mixed.with_suffix(".shape"))),
        *("--valid_shape_file", str(valid.with_suffix(".shape"))),
    ]


def test_every_training_batch_has_its_share(options, monkeypatch):
    from espnet_psslm.bin.psslm_train import main
    from espnet_psslm.data.collate import StepsCollate

    seen = []
    real = StepsCollate.__call__
    monkeypatch.setattr(
        StepsCollate,
        "__call__",
        lambda self, data: seen.append([key for key, _ in data]) or real(self, data),
    )
    main([*options, "--audio_share", "0.5"])
    training = [keys for keys in seen if keys[0].startswith(("text-", "steps-"))]
    # Eleven rows at a batch size of 4: ESPnet makes two batches of 5 and 6, in each of two epochs.
    assert sorted(map(len, training)) == [5, 5, 6, 6]
    for keys in training:
        counts = sum(key.startswith("steps-") for key in keys)
        assert counts == 3 if len(keys) == 6 else counts in (2, 3)
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--audio_share", "0.5", "--batch_type", "numel", "--batch_bins", "200"], "batch_type"),
        (["--audio_share", "0.5", "--shuffle_within_batch", "true"], "which undoes it"),
        (["--audio_share", "1.5"], "must lie between 0 and 1"),
        (["--audio_share", "0.5", "--source", "text"], "training data have 0"),
    ],
)
def test_what_cannot_be_mixed_is_one_line(options, more, message, capsys):
    from espnet_psslm.bin.psslm_train import main

    with pytest.raises(SystemExit):
        main([*options, *more])
    assert message in capsys.readouterr().err.splitlines()[-1]
