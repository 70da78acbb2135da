"""Training on text and dumped Steps in one batch, at a share."""

import pytest
import torch

from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.bridge.steps_file import StepsWriter
from espnet_psslm.text.units import SentencePieceUnits
from tests.helpers import text_rows, write_jsonl
from tests.tiny_training import BRIDGE, bridge_command, bridge_files


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
    config = BRIDGE | bridge_files(lm=lm_folder, units=units_folder, prompts=prompt_file)
    config |= {"source": "no_audio", "max_epoch": 2, "batch_type": "sorted", "batch_size": 4}
    return bridge_command(tmp_path / "exp", config, mixed, valid=valid)


def test_every_training_batch_has_its_share(options, seen):
    from espnet_psslm.bin.psslm_train import main

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
