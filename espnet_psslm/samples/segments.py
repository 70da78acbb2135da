"""Parts of recordings: Kaldi's ``segments``, and the source that a line of it becomes.

``rec0.flac#t=1.5,3.25`` is the part of ``rec0.flac`` from 1.5 to 3.25 seconds, written as the W3C's
media fragments write it. So a part is a source like any other: in ``wav.scp``, in a manifest, for
whatever reads audio. What exists as a file is a file.
"""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from espnet_psslm.common.lines import read_lines
from espnet_psslm.data.kaldi import read_table

SEGMENTS = "segments"
TO_THE_END = -1.0  # as Kaldi writes it
MAX_OVERSHOOT_S = 0.5  # a part may end so far behind its recording, as in Kaldi: times are rounded
_PART = re.compile(r"(?P<source>.+)#t=(?P<start>\d+(?:\.\d+)?),(?P<end>\d+(?:\.\d+)?)?", re.DOTALL)
_ARK_OFFSET = re.compile(r":[0-9]+$")


@dataclass(frozen=True)
class Part:
    """A part of a recording."""

    source: str  # of the whole
    start_s: float
    end_s: float | None  # None: the recording's end

    @classmethod
    def of(cls, source: str) -> Self | None:
        """Read a source; None where it is a whole recording."""
        match = _PART.fullmatch(source)
        if match is None or os.path.exists(source):
            return None
        end = match["end"]
        return cls(match["source"], float(match["start"]), None if end is None else float(end))

    def __str__(self) -> str:
        """The source."""
        end = "" if self.end_s is None else f"{self.end_s:.10g}"
        return f"{self.source}#t={self.start_s:.10g},{end}"

    def cut(self, samples: np.ndarray, fs: int) -> np.ndarray:
        """Take the part out of the whole recording.

        Args:
            samples: (N,).
            fs: Hz.

        Raises:
            ValueError: if it lies beyond the recording.
        """
        first = round(self.start_s * fs)
        last = len(samples) if self.end_s is None else round(self.end_s * fs)
        if last > len(samples) + MAX_OVERSHOOT_S * fs or first >= min(last, len(samples)):
            raise ValueError(
                f"the recording has {len(samples) / fs:.2f} s: no such part; correct segments"
            )
        return samples[first:last].copy()


def read_sources(wav_scp: str | Path) -> dict[str, str]:
    """Read the source of each utterance.

    Args:
        wav_scp: table of recordings; where ``segments`` lies beside it, utterances are its parts.

    Returns:
        Source by utterance.

    Raises:
        ValueError: naming file and line, if a table is missing or cannot be used.
    """
    recordings = read_table(wav_scp)
    path = Path(wav_scp).parent / SEGMENTS
    if not path.is_file():
        return recordings
    sources: dict[str, str] = {}
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            utt, part = _read_segment(line, recordings)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        if utt in sources:
            raise ValueError(f"{path}:{number}: utterance {utt} was there before; rename it")
        sources[utt] = str(part)
    return sources


def _read_segment(line: str, recordings: dict[str, str]) -> tuple[str, Part]:
    fields = line.split()
    if len(fields) != 4:
        raise ValueError(f"{line!r} is no segment; write 'utterance recording start end'")
    utt, recording, start, end = fields
    if recording not in recordings:
        raise ValueError(f"recording {recording} of utterance {utt} is not in wav.scp; add it")
    try:
        start_s, end_s = float(start), float(end)
    except ValueError as error:
        raise ValueError(f"{line!r}: start and end are seconds") from error
    to_the_end = end_s == TO_THE_END
    if not 0 <= start_s < math.inf or not (to_the_end or start_s < end_s < math.inf):
        raise ValueError(f"utterance {utt} from {start} to {end} s: must end behind its start")
    part = Part(recordings[recording], start_s, None if to_the_end else end_s)
    return utt, part


def find_beside(source: str, *folders: str | Path) -> str:
    """Look for a relative source where it is not found from the working folder.

    Args:
        source: a path, ``path.ark:offset`` or a part of either.
        folders: looked into one after the other.

    Returns:
        The source, below the first folder that has its file; as it is where none has.
    """
    match = _PART.fullmatch(source)
    file = source if match is None or os.path.exists(source) else match["source"]
    for path in (file, _ARK_OFFSET.sub("", file)):
        if os.path.isabs(path) or os.path.isfile(path):
            return source
        for folder in folders:
            if os.path.isfile(os.path.join(folder, path)):
                return os.path.join(folder, source)
    return source
