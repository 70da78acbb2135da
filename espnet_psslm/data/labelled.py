"""Labelled utterances, and the data folders made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_psslm.common.json_files import write_jsonl
from espnet_psslm.data.kaldi import write_speakers, write_table
from espnet_psslm.data.manifest import Row
from espnet_psslm.text.slu_answer import SLUAnswer
from espnet_psslm.text.tasks import ACTION, ASR, ENTITIES, SCENARIO

MANIFEST = "psslm.jsonl"


@dataclass(frozen=True)
class LabelledUtterance:
    """A sentence, spoken or not, with what is known of it."""

    utt: str
    text: str  # normalised transcript
    # In its place, for text-only training:
    said: str | None = None  # transcript that is asked back
    heard: str | None = None  # what scenario and action are asked of
    path: str | None = None  # audio; None for text only
    spk: str | None = None  # None: a speaker of its own
    scenario: str | None = None
    action: str | None = None
    answers: dict[str, str] = field(default_factory=dict)  # further tasks, e.g. EN2DE -> target
    slu_entities: bool = False  # whether there is one of SLU_entities, where all is known
    extra: dict[str, Any] = field(default_factory=dict)  # carried along into the manifest

    def rows(self) -> list[Row]:
        """Manifest rows: one for each task with a known target."""
        targets = {
            ASR: self.said or self.text,
            SCENARIO: self.scenario,
            ACTION: self.action,
            ENTITIES: self._answer() if self.slu_entities else None,
            **self.answers,
        }
        audio = {} if self.path is None else {"path": self.path}
        spoken = dict.fromkeys((SCENARIO, ACTION), self.heard) | {ASR: self.said}
        return [
            {
                "key": f"{self.utt}-{task}",
                "task": task,
                "target": target,
                **audio,
                "GT": spoken.get(task) or self.text,
                "utt": self.utt,
                **self.extra,
            }
            for task, target in targets.items()
            if target is not None
        ]

    def _answer(self) -> str | None:
        if self.scenario is None or self.action is None or "entities" not in self.extra:
            return None
        return SLUAnswer.of(self.scenario, self.action, self.extra["entities"]).text()


def write_data_dir(folder: str | Path, utterances: Sequence[LabelledUtterance]) -> None:
    """Write ``text`` and the manifest; with audio also ``wav.scp``, ``utt2spk``, ``spk2utt``.

    Args:
        folder: is made.
        utterances: all with audio or all without.

    Raises:
        ValueError: if there are none, or an id is there twice.
    """
    folder = Path(folder)
    if not utterances:
        raise ValueError(f"no utterances for {folder}: check the data and its options")
    by_id = {utterance.utt: utterance for utterance in utterances}
    if len(by_id) != len(utterances):
        raise ValueError(
            f"{folder}: {len(utterances) - len(by_id)} utterance ids come more than once; "
            "give every recording a name of its own"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "text", {utt: u.text for utt, u in by_id.items()})
    audio = {utt: u.path for utt, u in by_id.items() if u.path is not None}
    if audio:
        assert len(audio) == len(by_id), "audio and text-only utterances in one folder"
        write_table(folder / "wav.scp", audio)
        write_speakers(folder, {utt: u.spk or utt for utt, u in by_id.items()})
    write_jsonl(folder / MANIFEST, [row for utt in sorted(by_id) for row in by_id[utt].rows()])
