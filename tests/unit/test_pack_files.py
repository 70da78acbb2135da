"""Where the files of a configuration are found."""

import contextlib
from pathlib import Path

import pytest
import yaml

from espnet_psslm.pack_files import relocated

NAME = "data/token_list/bpe_300/bpe.model"


@pytest.mark.parametrize("folder", ["recipe", "a recipe"])
def test_names_relative_to_the_folder_of_the_training(tmp_path: Path, folder: str) -> None:
    """Decoding runs in another folder; one with a file of that name reads its own, as ESPnet."""
    there, here = tmp_path / folder, tmp_path / "here"
    for path in (there / NAME, here / NAME):
        path.parent.mkdir(parents=True)
        path.touch()
    config = there / "exp/ctc/config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(yaml.safe_dump({"bpemodel": NAME, "token_list": ["a"]}))
    for working, found in ((tmp_path, str(there / NAME)), (there, NAME), (here, NAME)):
        with contextlib.chdir(working), relocated(config) as copy:
            read = yaml.safe_load(copy.read_text())
        assert read == {"bpemodel": found, "token_list": ["a"]}
