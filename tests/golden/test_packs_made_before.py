"""Packs that earlier versions have made give the hypotheses that they gave there."""

import json
from pathlib import Path

import pytest

from espnet_psslm.common.cache import VARIABLE
from espnet_psslm.weights import MODELS_VARIABLE
from tests.golden.make_packs import MODELS, answers

FOLDER = Path(__file__).parent
PACKS = sorted(FOLDER.glob("*/*.zip"))


def test_none_is_overlooked():
    names = [f"{path.parent.name}/{path.stem}" for path in PACKS]
    assert names == ["7edc2fb/feature", "7edc2fb/posterior", "e4a2153/posterior"]


@pytest.mark.parametrize("pack", PACKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_same_hypotheses(pack, tmp_path, monkeypatch):
    monkeypatch.setenv(MODELS_VARIABLE, str(FOLDER / MODELS))
    monkeypatch.setenv(VARIABLE, str(tmp_path))  # where it is unpacked
    said = json.loads((pack.parent / "hypotheses.json").read_text(encoding="utf-8"))[pack.stem]
    found = answers(pack)
    assert found.keys() == said.keys()
    assert any(best["token_ids"] for answer in said["ASR"] for best in answer)
    for task, expected in said.items():
        for ours, theirs in zip(found[task], expected, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                assert one | {"log_prob": 0} == other | {"log_prob": 0}
                assert one["log_prob"] == pytest.approx(other["log_prob"], abs=1e-4)
