"""What commands are given beside the one thing that is wrong: a tiny system, trained once."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from espnet_psslm.bin import transcribe
from tests.ctc_setting import Setting
from tests.helpers import PROMPTS, save_language_model, write_jsonl
from tests.tiny_training import BRIDGE, files_in, write_shapes


@dataclass(frozen=True)
class System:
    """A trained acoustic model, a trained bridge, and the pack of both."""

    folder: Path
    setting: Setting

    @property
    def ctc(self) -> list[str]:
        """Options that name the acoustic model."""
        ctc = self.folder / "ctc"
        files = (ctc / "config.yaml", ctc / "valid.loss.ave.pth")
        return ["--asr_train_config", str(files[0]), "--asr_model_file", str(files[1])]

    @property
    def bridge(self) -> list[str]:
        """Options that name the bridge."""
        bridge = self.folder / "bridge"
        files = (bridge / "config.yaml", bridge / "valid.loss.ave.pth")
        return ["--psslm_train_config", str(files[0]), "--psslm_model_file", str(files[1])]

    def bridge_config(self, **changes: object) -> dict[str, object]:
        """Configuration of the bridge's training, on text alone."""
        rows = [[str(self.folder / "psslm.jsonl"), "sample", "psslm_jsonl"]]
        config = BRIDGE | {
            **files_in(self.folder),
            "source": "no_audio",
            "train_data_path_and_name_and_type": rows,
            "valid_data_path_and_name_and_type": rows,
            "train_shape_file": [str(self.folder / "shapes")],
            "valid_shape_file": [str(self.folder / "shapes")],
        }
        return config | changes

    def bridge_command(self, folder: Path, **changes: object) -> list[str]:
        """Command line of a training whose configuration is written to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "given.yaml"
        path.write_text(yaml.safe_dump(self.bridge_config(**changes)))
        return ["--config", str(path), "--output_dir", str(folder / "exp"), "--resume", "true"]


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    """Train it, an epoch each."""
    from espnet_psslm.bin import asr_train, pack, psslm_train

    folder = tmp_path_factory.mktemp("system")
    made = System(folder, Setting(folder))
    asr_train.main(made.setting.command(folder / "ctc", max_epoch=1, keep_nbest_models=1))
    save_language_model(folder / "lm")
    write_jsonl(folder / "prompts.jsonl", PROMPTS)
    write_shapes(folder / "psslm.jsonl", folder / "shapes")
    command = made.bridge_command(folder / "given")
    psslm_train.main([*command, "--output_dir", str(folder / "bridge")])
    pack.main([*made.bridge, "--outpath", str(folder / "model.zip")])
    return made


class Counting:
    """Answers with the number of samples."""

    familiarity = None

    def __call__(self, wave, task):
        text = str(len(wave))
        best = SimpleNamespace(text=text, outside=None, score=0.0, confidence=None)
        return [(text, [], [], best)]


@pytest.fixture
def answered(tmp_path, monkeypatch, capsys):
    """Run ``transcribe`` in a folder of its own; returns exit status, answers and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transcribe, "load", lambda args: Counting())

    def run(*words):
        status = 0
        try:
            transcribe.main([*words, "--model", "x"])
        except SystemExit as stopped:
            status = stopped.code
        return status, *capsys.readouterr()

    return run
