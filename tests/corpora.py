"""Miniature corpora, in the layouts in which SLURP, Common Voice and CoVoST 2 are distributed.

Each holds the traps of the real ones: clips that are missing, sentences without words, repeated
ids, tabs and quotation marks in text, other orders of columns, letters beyond ASCII.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

GERMAN = (
    '"Beim Jupiter!", fluchte der Römer.',
    "Grüße aus Köln",
    "Er sagte: «Schön».",
    "Das\\\tist ein Tabulator.",  # a tab inside a field, escaped as the corpora's tools do
)
# Every letter: whatever a random model writes, some of it agrees with a sentence.
PANGRAM = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich."


def tone(seconds: float, rate: int, *, hz: float = 220.0) -> np.ndarray:
    """A quiet tone, (N,) float32."""
    times = np.arange(int(seconds * rate)) / rate
    return (0.1 * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def write_clip(path: Path, *, seconds: float = 1.0, rate: int = 48000) -> None:
    """Write a clip; the suffix decides the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seconds, rate), rate)


def write_tsv(path: Path, header: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Write a table as Common Voice does: no quoting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(header), *("\t".join(row.get(h, "") for h in header) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def slurp_row(slurp_id: int, words: str, intent: str, files: Sequence[str], **more: object) -> dict:
    """One row of SLURP's release; an entity is written ``[type : words]`` in the annotation."""
    scenario, _, action = intent.partition("_")
    return {
        "slurp_id": slurp_id,
        "sentence": words,
        "sentence_annotation": words,
        "intent": intent,
        "action": action,
        "tokens": [{"surface": word, "id": i} for i, word in enumerate(words.split())],
        "scenario": scenario,
        "recordings": [{"file": name, "wer": 0.0, "status": "correct"} for name in files],
        "entities": [],
        **more,
    }


def build_slurp(root: Path) -> Path:
    """SLURP: five training rows of which three can be used, dev, test, synthetic."""
    time = {"entities": [{"span": [3, 4], "type": "time"}]}
    rows = {
        "train": [
            slurp_row(1, "wake me at Seven thirty", "alarm_set",
                      ["audio-1-headset.flac", "audio-1.flac"], **time),
            slurp_row(2, 'play "café\tdel mar"', "play_music", ["audio-2.flac"]),
            slurp_row(3, "?!", "general_quirky", ["audio-3.flac"]),  # no words
            slurp_row(4, "wake me at Seven thirty", "alarm_set",
                      ["audio-1.flac", "audio-4.flac"]),  # one file named twice
            slurp_row(5, "stop", "audio_volume_mute", ["audio-5.flac"],
                      entities=[{"span": [9], "type": "x"}]),  # a span beyond the tokens
        ],
        "devel": [
            slurp_row(6, "turn off the light", "iot_hue_lightoff",
                      ["audio-6.flac", "audio-6-headset.flac"]),
        ],
        "test": [
            slurp_row(7, "set an alarm", "alarm_set", ["audio-7-headset.flac", "audio-7.flac"]),
            slurp_row(8, "play some jazz", "play_music", ["audio-8.flac"],
                      entities=[{"span": [2], "type": "music_genre"}]),
        ],
        "train_synthetic": [slurp_row(1, "wake me at Seven thirty", "alarm_set", ["synth-1.flac"])],
    }  # fmt: skip
    folder = root / "dataset/slurp"
    folder.mkdir(parents=True)
    for name, content in rows.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in content]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    with open(folder / "train.jsonl", "a", encoding="utf-8") as stream:
        stream.write("\n{broken\n")
    # audio-4 is missing.
    for name in ("1", "1-headset", "2", "6", "6-headset", "7", "7-headset", "8"):
        write_clip(root / f"audio/slurp_real/audio-{name}.flac", rate=16000)
    write_clip(root / "audio/slurp_synth/synth-1.flac", rate=16000)
    return root


def build_common_voice(root: Path, *, lang: str = "de") -> Path:
    """A release with one language; ``dev.tsv`` has another order of columns than ``train.tsv``."""
    old = ("client_id", "path", "sentence", "up_votes")
    new = ("locale", "sentence", "sentence_id", "path", "client_id", "variant")
    names = [f"common_voice_{lang}_{i}.mp3" for i in range(12)]

    def row(i: int, sentence: str, client: str) -> dict[str, str]:
        return {"path": names[i], "sentence": sentence, "client_id": client, "up_votes": "2"}

    train = [
        *(row(i, text, f"spk{i % 2}") for i, text in enumerate(GERMAN)),
        row(4, " ...", "spk1"),  # no words
        row(0, "noch einmal", "spk1"),  # an id that was there
        row(5, "Grüße aus Köln", "spk2"),  # the clip is missing
    ]
    dev = [row(6, "Guten Tag", "dev"), row(11, PANGRAM, "dev")]
    test = [row(7, "„Ende“", "test"), row(8, "Ja", "test")]
    folder = root / lang
    write_tsv(folder / "train.tsv", old, train)
    with open(folder / "train.tsv", "a", encoding="utf-8") as stream:
        stream.write("spk3\tonly_two_fields.mp3\n")
    write_tsv(folder / "dev.tsv", new, dev)
    write_tsv(folder / "test.tsv", new, test)
    other = [row(9, "Noch ein Satz", "spk9"), row(10, "Wieder der Prüfer", "test")]
    write_tsv(folder / "validated.tsv", new, [*train, *dev, *test, *other])
    for i in (0, 1, 2, 3, 6, 7, 8, 9, 10):
        write_clip(folder / "clips" / names[i])
    write_clip(folder / "clips" / names[11], seconds=2.0)  # CTC needs a frame a letter
    return root


def build_covost2(root: Path) -> tuple[Path, Path]:
    """CoVoST 2 out of and into English, with the Common Voice of each; returns both folders."""
    english = [
        '"Hello," she said.',
        "It's raining.",
        "Good night",
        "One\\\ttwo",
        "Never translated",
    ]
    english += ["A dev clip", "A test clip", "", "Version one", "Its clip is missing"]
    german = ['"Hallo", sagte sie.', "Es regnet.", "Gute  Nacht", "Eins\\\tzwei", ""]
    german += ["Ein Clip", "Noch ein Clip", "Leer", "Version eins", "Sein Clip fehlt"]
    chinese = ["她说：“你好”。", "下雨了。", "晚安", "一 二", ""]
    chinese += ["开发", "测试", "空", "第一版", "缺失"]
    splits = ["train", "train_covost", "train", "train", "train", "dev", "test", "test"]
    splits += ["dev_covost", "train"]
    sentences = {"en": english, "de": german, "zh-CN": chinese}
    for language, texts in sentences.items():
        clips = [
            {"path": f"common_voice_{language}_{i}.mp3", "sentence": text, "client_id": f"c{i}"}
            for i, text in enumerate(texts)
        ]
        table = root / f"cv/{language}/validated.tsv"
        write_tsv(table, ("client_id", "path", "sentence"), clips)
        for clip in clips[:8]:
            write_clip(root / f"cv/{language}/clips" / clip["path"])
    for source, target in (("en", "de"), ("en", "zh-CN"), ("de", "en"), ("zh-CN", "en")):
        rows = [
            {"path": f"common_voice_{source}_{i}.mp3", "translation": text, "split": split}
            for i, (text, split) in enumerate(zip(sentences[target], splits, strict=True))
        ]
        rows.append({"path": "gone.mp3", "translation": "Weg", "split": "test"})
        rows.append({**rows[0], "translation": "doppelt"})
        rows.append({**rows[0], "path": "removed.mp3", "translation": "REMOVE"})
        table = root / f"covost/covost_v2.{source}_{target}.tsv"
        write_tsv(table, ("split", "path", "translation"), rows)
    return root / "covost", root / "cv"


def build_corpus(recipe: str, folder: Path) -> dict[str, str]:
    """Write the corpus of a recipe; returns what ``db.sh`` is to say."""
    if recipe == "slurp":
        return {"SLURP": str(build_slurp(folder))}
    if recipe == "commonvoice":
        return {"COMMONVOICE": str(build_common_voice(folder))}
    translations, clips = build_covost2(folder)
    return {"COVOST2": str(translations), "COMMONVOICE": str(clips)}
