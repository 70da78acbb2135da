"""A recipe from data to pack on a miniature corpus, killed at random moments and run again.

``python -m tests.killed_recipe`` does it with the mini recipe and its pretrained models.
"""

import pytest

from tests.corpora import build_slurp
from tests.killed_recipe import Recipe, check_recipe
from tests.recipe import test_corpora

pytestmark = [pytest.mark.recipe, pytest.mark.long]

KILLS = 3
models, python = test_corpora.models, test_corpora.python


def test_the_same_is_left(root, models, python, tmp_path) -> None:
    variables = {"SLURP": str(build_slurp(tmp_path / "corpus"))}
    options = test_corpora.options("slurp", models, python)
    command = [str(root / "egs2/slurp/psslm1/run.sh"), *options, "--sft=false"]
    check_recipe(Recipe(command, tmp_path / "run", **variables), kills=KILLS, seed="slurp")
