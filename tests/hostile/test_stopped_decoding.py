"""Decoding that is stopped goes on where it was, and ends with the same files."""

import json
import shutil

import pytest
import yaml

from espnet_psslm.bin import asr_inference
from tests.fake_acoustic import LevelAcoustic
from tests.helpers import write_jsonl
from tests.unit.bin import test_asr_inference as ctc
from tests.unit.tasks import test_psslm as bridge
from tests.unit.tasks.test_psslm import infer

options, trained, audio = bridge.options, bridge.trained, bridge.audio
acoustic, data = ctc.acoustic, ctc.data
TIMES = {"wall_s", "search_s", "align_s", "load_s", "peak_rss_mb"}


class Stopped(BaseException):
    """As a signal would stop it."""


class Counted:
    """A function that stops at one of its calls, before its work is done."""

    def __init__(self, function, stop=None) -> None:
        self.function, self.stop, self.calls = function, stop, 0

    def __call__(self, *args):
        self.calls += 1
        if self.calls == self.stop:
            raise Stopped
        return self.function(*args)


class PaddedAcoustic(LevelAcoustic):
    """Is less sure in long batches, as the last bits of a true model are others there."""

    def classify(self, features):
        posterior = super().classify(features)
        return (posterior * (1 - 1e-4 * posterior.shape[1])).log_softmax(-1)


def contents(folder):
    """All files, but for seconds and memory."""
    found = {}
    for path in folder.rglob("*"):
        if path.name == "stats.json":
            values = json.loads(path.read_text())
            found[path.relative_to(folder)] = {k: v for k, v in values.items() if k not in TIMES}
        elif path.is_file():
            found[path.relative_to(folder)] = path.read_bytes()
    return found


@pytest.fixture
def manifest(trained, audio, tmp_path, monkeypatch):
    """Two tasks that hear the same audio, in another order, and a file that is not there."""
    monkeypatch.setattr("espnet_psslm.inference.decoder.WINDOW", 1)
    tokens = yaml.safe_load((trained[0] / "exp/config.yaml").read_text())["token_list"]
    monkeypatch.setattr(
        "espnet_psslm.acoustic.model.load_ctc_acoustic", lambda *_: PaddedAcoustic(tokens)
    )
    rows = [*audio[:5], audio[1] | {"key": "again"}, *audio[5:]]
    other = [row | {"key": f"{row['key']}-2", "task": "SLU_scenario"} for row in reversed(rows)]
    absent = audio[0] | {"key": "absent", "path": str(tmp_path / "absent.wav")}
    return write_jsonl(tmp_path / "m.jsonl", [*rows, absent, *other])


@pytest.fixture
def run(trained, manifest, tmp_path, monkeypatch):
    """Decode into a folder, and stop at a window; how many windows were begun."""
    from espnet_psslm.inference.decoder import PSSLMDecoder

    decode_window = PSSLMDecoder._decode_window

    def run(folder, *more, stop=None, exp=None):
        counted = Counted(decode_window, stop)
        monkeypatch.setattr(PSSLMDecoder, "_decode_window", lambda *args: counted(*args))
        needed = ("--manifest", str(manifest), "--nbest", "2", "--max_skipped", "1")
        options = (*needed, "--confidence", "posterior", *more)
        if stop is None:
            infer(trained[0], folder, *options, exp=exp)
        else:
            with pytest.raises(Stopped):
                infer(trained[0], folder, *options, exp=exp)
        return counted.calls

    return run


def test_answers_that_are_found_are_not_looked_for_again(run, tmp_path) -> None:
    windows = run(tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    assert windows == 7 and not (tmp_path / "whole/unfinished.jsonl").exists()
    for stop in (2, 5, 7):
        folder = tmp_path / f"stopped{stop}"
        run(folder, stop=stop)
        with open(folder / "unfinished.jsonl", "ab") as file:  # a part that is half-written
            file.write(b'{"first": "utt')
        assert run(folder) == windows - stop + 1
        assert contents(folder) == whole


def test_stopped_again_and_again(run, tmp_path) -> None:
    run(tmp_path / "whole")
    for _ in range(6):
        run(tmp_path / "out", stop=2)
    assert run(tmp_path / "out") == 1
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_answers_of_another_model_or_of_other_options_are_not_used(
    run, trained, manifest, tmp_path, caplog
) -> None:
    folder = tmp_path / "out"
    for change in ("options", "model", "manifest"):
        exp, more = trained[0] / "exp", ()
        run(folder, stop=3)
        if change == "options":
            more = ("--max_new_tokens", "7")
        elif change == "model":
            exp = shutil.copytree(exp, tmp_path / "exp")
            shutil.copy(exp / "1epoch.pth", exp / "valid.loss.ave.pth")
        else:
            manifest.write_text(manifest.read_text().replace('"again"', '"other"'))
        caplog.clear()
        assert run(folder, *more, exp=exp) == 7
        assert "of another model, data or options, not used" in caplog.text
        run(tmp_path / change, *more, exp=exp)
        assert contents(folder) == contents(tmp_path / change)


def test_ctc_goes_on_where_it_was(acoustic, data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("espnet_psslm.acoustic.recognise.SEARCH_VALUES", 1)
    more = ("--batch_size", "1", "--search", "prefix_beam", "--nbest", "2")
    asr_inference.main(ctc.options(data, tmp_path / "whole", *more))
    posterior = acoustic.log_posterior
    for stop in (2, 4):
        acoustic.log_posterior = Counted(posterior, stop)
        with pytest.raises(Stopped):
            asr_inference.main(ctc.options(data, tmp_path / "out", *more))
        acoustic.log_posterior = Counted(posterior)
        asr_inference.main(ctc.options(data, tmp_path / "out", *more))
        assert acoustic.log_posterior.calls == 4 - stop + 1
        assert contents(tmp_path / "out") == contents(tmp_path / "whole")
        assert not (tmp_path / "out/unfinished.jsonl").exists()
