"""Commands that are killed before each of their renames, or have no room: what was there is good.

A file is renamed when it is whole, so these are the moments at which anything changes.
"""

import json
import os
import re
import resource
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import yaml

from espnet_psslm.bin import asr_inference, asr_train, dump_steps, filter_data, pack
from espnet_psslm.bridge.steps_file import read_steps
from espnet_psslm.data.speed import perturb_data
from tests.ctc_setting import Setting
from tests.helpers import run_and_fail

ROOT = Path(__file__).resolve().parents[2]
KILLED = 9
# Files that are written where nothing reads them before they are whole, or that hold nothing.
PLAIN = {
    "espnet_psslm/atomic.py": 2,  # what all others use; a pipe
    "espnet_psslm/recipe/packing.py": 2,  # of a folder that is packed then
    "espnet_psslm/bridge/steps_file.py": 1,
    "espnet_psslm/common/archive.py": 1,
    "espnet_psslm/common/kept_parts.py": 1,  # appended to; what is cut is not read
    "espnet_psslm/common/lock.py": 1,
    "espnet_psslm/llm/backbone.py": 1,  # a lock
    "espnet_psslm/pack_files.py": 2,  # of a folder that is renamed then; temporary
    "espnet_psslm/recipe/voices/espeak.py": 1,  # a pipe
}
WRITES = re.compile(
    r"open\(.*[\"'][wax]b?\+?[\"']|\.write_(?:text|bytes)\(|savefig\(path|save\(path"
)


@pytest.fixture(scope="module")
def setting(tmp_path_factory) -> Setting:
    setting = Setting(tmp_path_factory.mktemp("ctc"))
    asr_train.main(setting.command(setting.folder / "exp", max_epoch=1))
    return setting


def dies(main: Callable[[Sequence[str]], None], command: Sequence[str], *, at: int) -> bool:
    """Run a command in a process that is killed before its n-th rename; whether it came so far."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
        real, count = os.replace, 0

        def replace(*names):
            nonlocal count
            count += 1
            if count == at:
                os._exit(KILLED)
            real(*names)

        os.replace = replace
        try:
            main(command)
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


def tree(folder: Path, *, without: Sequence[str] = ()) -> dict[str, bytes]:
    """All files but hidden ones."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in without
    }


def steps_width(folder: Path) -> int:
    """K of all Steps that a manifest names."""
    rows = [json.loads(line) for line in (folder / "psslm.jsonl").read_text().splitlines()]
    widths = {read_steps(row["steps"])[0].shape[1] for row in rows}
    assert len(rows) > 5 and len(widths) == 1
    return widths.pop()


def dump_options(setting: Setting, output: Path, *, max_units: int) -> list[str]:
    options = [*setting.model_options(setting.folder / "exp"), "--output_dir", str(output)]
    conf = f"{{max_units: {max_units}, blank_threshold: 1.0}}"
    return [*options, "--reduction_conf", conf]


def test_a_dump(setting, tmp_path, capsys):
    output, straight = tmp_path / "dump", tmp_path / "straight"
    dump_steps.main(dump_options(setting, straight, max_units=4))
    dump_steps.main(dump_options(setting, output, max_units=3))
    before = tree(output)
    again = dump_options(setting, output, max_units=4)
    deaths = 0
    while dies(dump_steps.main, again, at=deaths + 1):
        assert steps_width(output) == 3
        deaths += 1
    assert deaths == 6
    assert steps_width(output) == 4
    assert tree(output, without=["psslm.jsonl", "steps.scp"]) == tree(
        straight, without=["psslm.jsonl", "steps.scp"]
    )
    # The way back, without room.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    now = tree(output)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        error = run_and_fail(dump_steps.main, dump_options(setting, output, max_units=3), capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in error and "steps.ark" in error
    assert tree(output) == now
    dump_steps.main(dump_options(setting, output, max_units=3))
    assert tree(output) == before


def test_decoding(setting, tmp_path):
    output, straight = tmp_path / "decode", tmp_path / "straight"
    options = [*setting.model_options(setting.folder / "exp"), "--output_dir"]
    asr_inference.main([*options, str(straight)])
    at = 1
    while dies(asr_inference.main, [*options, str(output)], at=at):
        at += 3
    assert at > 3
    assert tree(output, without=["stats.json"]) == tree(straight, without=["stats.json"])


def test_filtering_in_place(setting, tmp_path):
    straight, output = (tmp_path / name for name in ("straight", "filtered"))
    for folder in (straight, output):
        shutil.copytree(setting.data, folder, ignore=shutil.ignore_patterns("exp", "whisper"))
        speakers = (folder / "utt2num_samples").read_text().splitlines()
        (folder / "utt2spk").write_text("".join(f"{line.split()[0]} a\n" for line in speakers))
    limits = ["--max_duration_s", "0.6", "--max_dropped", "0.9", "--data_dir"]
    filter_data.main([*limits, str(straight)])
    at = 1
    while dies(filter_data.main, [*limits, str(output)], at=at):
        at += 1
    assert at > 5
    assert tree(output) == tree(straight)
    # Other limits than those of the run that was killed: what is gone stays gone.
    shutil.rmtree(output)
    shutil.copytree(setting.data, output, ignore=shutil.ignore_patterns("exp", "whisper"))
    shutil.copy(straight / "utt2spk", output)
    (output / "utt2spk").write_text("".join(f"{line.split()[0]} a\n" for line in speakers))
    assert dies(filter_data.main, [*limits, str(output)], at=4)
    filter_data.main(["--max_dropped", "0.9", "--data_dir", str(output)])
    assert (output / "text").read_text() == (straight / "text").read_text()


def test_packing(tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"task": "ASR", "prompt": "Transcribe."}\n')
    config = {"prompt_file": str(prompts), "acoustic_conf": {"whisper": "openai/whisper-tiny"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "model.pth").write_bytes(b"weights")
    archive = tmp_path / "exp/model.zip"
    command = ["--psslm_train_config", str(tmp_path / "config.yaml"), "--outpath", str(archive)]
    command += ["--psslm_model_file", str(tmp_path / "model.pth")]
    assert dies(pack.main, command, at=1)
    [left] = archive.parent.iterdir()  # hidden
    assert left.name.startswith(".model.zip.")
    pack.main(command)
    assert [path.name for path in archive.parent.iterdir()] == ["model.zip"]


def test_audio_that_is_made_again(setting, tmp_path):
    """A recording that is being written does not stand under the name that a table has."""
    output = tmp_path / "sp"

    def perturb(_command: Sequence[str]) -> None:
        perturb_data(setting.data, output, factors=[0.9], fs=16000, nj=1)

    perturb([])
    before = tree(output)
    for path in (output / "audio").iterdir():
        path.chmod(0o444)  # who writes into it, and not beside it, fails
    perturb([])
    assert tree(output) == before


def test_nothing_is_written_in_place():
    found = {}
    for path in sorted((ROOT / "espnet_psslm").rglob("*.py")):
        if number := len(WRITES.findall(path.read_text(encoding="utf-8"))):
            found[str(path.relative_to(ROOT))] = number
    assert found == PLAIN, "write through espnet_psslm.atomic, or say here why not"
