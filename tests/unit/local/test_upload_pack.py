"""local/upload_pack.py, up to the network."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "local/upload_pack.py"
# A stand-in for the hub's client that writes down what it is asked for.
CLIENT = """
import os, sys, types

class HfApi:
    def create_repo(self, repo, exist_ok):
        print("create", repo, exist_ok)
    def upload_folder(self, repo_id, folder_path):
        names = sorted(os.path.relpath(os.path.join(place, name), folder_path)
                       for place, _, found in os.walk(folder_path) for name in found)
        print("upload", repo_id, *names)

sys.modules["huggingface_hub"] = types.SimpleNamespace(HfApi=HfApi)
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "psslm.zip"
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("README.md", "# card")
        content.writestr("psslm/config.yaml", "{}")
    return path


def upload(*words, archive, **variables):
    options = ["--archive", str(archive), "--repo", "name/model"]
    return subprocess.run(
        [sys.executable, *words, str(SCRIPT), *options], capture_output=True, text=True,
        check=False, env=os.environ | variables,
    )  # fmt: skip


def test_the_members_become_the_files_of_the_repository(archive):
    out = upload("-c", CLIENT, archive=archive)
    assert out.returncode == 0, out.stderr
    assert out.stdout.splitlines() == [
        "create name/model True",
        "upload name/model README.md psslm/config.yaml",
        f"uploaded {archive} to name/model",
    ]


def test_what_is_no_archive(tmp_path):
    (tmp_path / "x.zip").write_text("x")
    out = upload("-c", CLIENT, archive=tmp_path / "x.zip")
    assert out.returncode == 1 and "File is not a zip file" in out.stderr
    assert len(out.stderr.splitlines()) == 1


def test_without_a_network_one_line_says_so(archive):
    """The real client, with nothing at the other end."""
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_none", "HF_HUB_OFFLINE": "0"}
    out = upload(archive=archive, **nowhere)
    assert out.returncode == 1
    last = out.stderr.splitlines()[-1]
    assert last.startswith("upload_pack: error: ") and "Connection refused" in last
    assert "hf auth login" in out.stderr and "Traceback" not in out.stderr
