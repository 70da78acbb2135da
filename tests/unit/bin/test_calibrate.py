"""calibrate: from dumped Steps of development speech to a file, on a tiny random model."""

import logging
import re

import pytest
import torch
import yaml

from espnet_psslm.bridge.steps import PosteriorSteps
from espnet_psslm.bridge.steps_file import StepsWriter
from espnet_psslm.inference.outside import Familiarity, calibrate, pairs_of
from tests.helpers import SENTENCES, run_and_fail, text_rows, write_jsonl
from tests.unit.tasks import test_psslm as bridge

options, trained = bridge.options, bridge.trained
NUM_UTTS = 60
OTHERS = ("--nbest", "3", "--guard_tasks", "ASR", "--tasks", "SLU_scenario", "--max_skipped", "1")


@pytest.fixture(scope="module")
def dumped(trained, units_folder, tmp_path_factory):
    """A manifest of dumped Steps, some heard more clearly than others; the last of silence."""
    folder = tmp_path_factory.mktemp("dumped")
    tokens = len((units_folder / "tokens.txt").read_text().splitlines())
    generator = torch.Generator().manual_seed(0)
    rows = []
    with StepsWriter(folder / "steps.ark", {}) as writer:
        for place in range(NUM_UTTS):
            units = torch.randint(3, tokens - 1, (1, 7, 1), generator=generator)
            probs = torch.full((1, 7, 1), 0.99 - place / 100)
            spans = torch.arange(7)[None]
            lengths = torch.tensor([0 if place == NUM_UTTS - 1 else 7])
            steps = PosteriorSteps(units, probs, lengths, tokens, spans, spans + 1)
            writer.write_batch([f"utt{place}"], steps)
    for utt, location in writer.locations.items():
        row = {"key": utt, "target": SENTENCES[0], "GT": SENTENCES[0], "steps": location}
        rows.append(row | {"task": "ASR"})
        rows.append(row | {"task": "SLU_scenario", "key": f"{utt}-2"})
    return write_jsonl(folder / "psslm.jsonl", rows)


@pytest.fixture
def command(trained, tmp_path):
    text = tmp_path / "text"
    text.write_text("".join(f"{n} {sentence}\n" for n, sentence in enumerate(SENTENCES)))

    def made(manifest, *more):
        exp = trained[0] / "exp"
        return [
            *("--psslm_train_config", str(exp / "config.yaml")),
            *("--psslm_model_file", str(exp / "2epoch.pth"), "--manifest", str(manifest)),
            *("--output", str(tmp_path / "new/outside.yaml"), "--device", "cpu"),
            *("--text", str(text), "--max_new_tokens", "6", *more),
        ]

    return made


def test_the_threshold_is_that_of_the_transcripts(trained, dumped, command, tmp_path, caplog):
    from espnet_psslm.bin.calibrate import main
    from espnet_psslm.data.manifest import read_manifest
    from espnet_psslm.inference.decoder import PSSLMDecoder

    exp = trained[0] / "exp"
    decoder = PSSLMDecoder(
        exp / "config.yaml", exp / "2epoch.pth", device="cpu", source="steps", max_new_tokens=6
    )
    rows = [row for row in read_manifest(dumped).values() if row["task"] == "ASR"]
    found = decoder.decode(rows)
    assert found[-1].heard.num_steps == 0
    caplog.set_level(logging.INFO)
    for more in ((), OTHERS):
        main(command(dumped, "--share", "0.1", "--batch_size", "16", *more))
        made = Familiarity.read(tmp_path / "new/outside.yaml")
        expected = calibrate(found, pairs=pairs_of(SENTENCES), share=0.1)
        assert made.pairs == expected.pairs
        assert made.threshold == pytest.approx(expected.threshold, rel=1e-4)
        assert (made.share, made.num_utts) == (0.1, NUM_UTTS)
        said = f"of {NUM_UTTS} utterances at most 10 % have a confidence below {made.threshold:.3f}"
        assert said in caplog.records[-1].message


def test_options_may_stand_in_the_file_of_stage_12(dumped, command, tmp_path):
    from espnet_psslm.bin.calibrate import get_parser

    settings = {"beam_size": 2, "guard_tasks": ["ASR"], "confidence": "token_mean"}
    (tmp_path / "decode.yaml").write_text(yaml.safe_dump(settings))
    args = get_parser().parse_args([*command(dumped), "--config", str(tmp_path / "decode.yaml")])
    assert {name: getattr(args, name) for name in settings} == settings


def first(dumped, count, task="ASR"):
    from espnet_psslm.data.manifest import read_manifest

    rows = [row for row in read_manifest(dumped).values() if row["task"] == task]
    return write_jsonl(dumped.with_name(f"{count}{task}.jsonl"), rows[:count])


@pytest.mark.parametrize(
    ("count", "task", "more", "match"),
    [
        (49, "ASR", (), "49 utterances of development speech with task ASR: at least 50"),
        (60, "SLU_scenario", (), "'ASR'.*has rows of ['SLU_scenario'] only"),
        (60, "ASR", ("--share", "1"), "share (1.0) must lie between 0 and 1"),
    ],
)
def test_one_clear_line(dumped, command, tmp_path, capsys, count, task, more, match):
    from espnet_psslm.bin.calibrate import main

    error = run_and_fail(main, command(first(dumped, count, task), *more), capsys)
    pattern = ".*".join(map(re.escape, match.split(".*")))
    assert re.search(pattern, error), error
    assert not (tmp_path / "new").exists()


def test_rows_without_steps(command, tmp_path, capsys):
    from espnet_psslm.bin.calibrate import main

    rows = [row | {"key": f"{row['key']}-{n}"} for n in range(7) for row in text_rows()]
    manifest = write_jsonl(tmp_path / "text.jsonl", rows)
    error = run_and_fail(main, command(manifest), capsys)
    assert "has no field 'steps'" in error
    assert not (tmp_path / "new").exists()
