"""NIST's sclite, where it is installed: alignments of every utterance, as ESPnet's recipes give.

The figures of the tables are ours everywhere (jiwer). sclite weighs substitutions differently, so
its split into substitutions, deletions and insertions may differ by some counts.
"""

import logging
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from espnet_psslm.atomic import atomic_text
from espnet_psslm.text.normalize import normalize_text

SPACE = "<space>"


def write_sclite(
    folder: Path, refs: Mapping[str, str], hyps: Mapping[str, str], *, metric: str, language: str
) -> bool:
    """Write ``ref.trn`` and ``hyp.trn``, and sclite's ``result.txt``.

    Args:
        folder: is made.
        refs: utterance -> reference.
        hyps: utterance -> hypothesis; one that is missing counts as empty.
        metric: wer or cer.
        language: of the normalisation.

    Returns:
        Whether sclite is there and did its work; else nothing is written, or no result.
    """
    program = shutil.which("sclite")
    if program is None:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in (("ref", refs), ("hyp", hyps)):
        lines = []
        for key in sorted(refs):
            text = normalize_text(texts.get(key, ""), language)
            if metric == "cer":
                text = " ".join(SPACE if char == " " else char for char in text)
            lines.append(f"{text} ({key}-{key})\n")
        atomic_text(folder / f"{name}.trn", "".join(lines))
    files = [*("-r", "ref.trn", "trn"), *("-h", "hyp.trn", "trn"), *("-i", "rm")]
    done = subprocess.run(
        [program, *files, *("-e", "utf-8"), *("-o", "all", "stdout")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        logging.warning("sclite failed in %s: %s", folder, done.stderr.strip()[-200:])
        return False
    atomic_text(folder / "result.txt", done.stdout)
    return True
