"""Builds the simulated NPU once, and makes the environment in which a program finds it."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch.utils import cpp_extension

from espnet_psslm.common.cache import cache_folder

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
SOURCE = FOLDER / "simulated_npu.cpp"
NO_COMPILER = "the simulated NPU needs a C++ compiler: install g++, or name one in CXX"
# What an Ascend NPU lacks: CTC loss, the transform inside torch.stft, float64.
LACKS = ("aten::_ctc_loss", "aten::_fft_r2c", "float64")
FLAGS = ("-O1", "-std=c++20", "-fPIC", "-shared", "-w")


def find_compiler() -> str | None:
    """``$CXX``, or g++, c++, clang++, whichever is there first."""
    names = (os.environ.get("CXX"), "g++", "c++", "clang++")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def build_library(compiler: str) -> Path:
    """The built extension, from the cache where this source and this torch have met before.

    Args:
        compiler: of C++20.

    Returns:
        The file.

    Raises:
        RuntimeError: with the compiler's words, if it fails.
    """
    text = SOURCE.read_bytes() + f"{torch.__version__} {sys.platform} {FLAGS}".encode()
    cache = cache_folder()
    library = cache / f"simulated_npu-{hashlib.sha256(text).hexdigest()[:16]}.so"
    if library.is_file():
        return library
    includes = [f"-I{path}" for path in cpp_extension.include_paths()]
    libraries = [f"-L{path}" for path in cpp_extension.library_paths()]
    with tempfile.TemporaryDirectory(dir=cache) as folder:  # several processes may build at once
        built = Path(folder) / library.name
        command = [compiler, *FLAGS, *includes, str(SOURCE), "-o", str(built), *libraries]
        done = subprocess.run(
            [*command, "-ltorch_cpu", "-ltorch", "-lc10"], capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{compiler} cannot build {SOURCE.name}:\n{done.stderr}")
        built.replace(library)
    return library


def npu_environment(library: Path) -> dict[str, str]:
    """Variables of a process that has an NPU: the stand-in torch_npu comes first on the path."""
    path = [str(FOLDER / "stand_in"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "SIMULATED_NPU_LIBRARY": str(library),
        "TOKENIZERS_PARALLELISM": "false",
    }
