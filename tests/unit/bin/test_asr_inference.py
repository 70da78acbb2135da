"""Decoding, aligning and drawing with an acoustic model whose posteriors are known."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from espnet_psslm.acoustic.base import AcousticModel
from espnet_psslm.acoustic.log_mel import LogMel
from espnet_psslm.bin import asr_align, asr_inference, dump_steps, plot_posterior
from espnet_psslm.text.units import SentencePieceUnits
from tests.helpers import SENTENCES, write_jsonl

SHIFT_S = 0.06
TEXTS = dict(zip(("utt0", "utt1", "utt2", "utt3"), (*SENTENCES[:3], ""), strict=True))


class KnownAcoustic(AcousticModel):
    """Speech of amplitude n / 10 is the text n: unit i on frames 3i + 1 and 3i + 2, p = 0.8."""

    blank_id = 0
    frame_shift_s = SHIFT_S
    max_duration_s = 30.0
    device = torch.device("cpu")
    load = None

    def __init__(self, units_folder: Path) -> None:
        super().__init__()
        self.bpemodel = str(units_folder / "bpe.model")
        self.units = SentencePieceUnits(units_folder / "tokens.txt", bpemodel=self.bpemodel)
        self.token_list = self.units.tokens
        self.model = SimpleNamespace(frontend=LogMel())

    def classify(self, features):
        return features

    def encode_frames(self, speech, speech_lengths):
        rows = []
        for signal, length in zip(speech, speech_lengths.tolist(), strict=True):
            unit_ids = self.units.encode(list(TEXTS.values())[round(float(signal[0]) * 10) - 1])
            labels = [0, *(label for unit in unit_ids for label in (unit, unit, 0))]
            labels += [0] * (round(length / 16000 / SHIFT_S) - len(labels))
            row = torch.full((len(labels), len(self.token_list)), 0.2 / (len(self.token_list) - 1))
            row[torch.arange(len(labels)), labels] = 0.8
            rows.append(row.log())
        lengths = torch.tensor([len(row) for row in rows])
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths


@pytest.fixture
def acoustic(units_folder: Path, monkeypatch: pytest.MonkeyPatch) -> KnownAcoustic:
    known = KnownAcoustic(units_folder)
    monkeypatch.setattr("espnet_psslm.acoustic.model.load_ctc_acoustic", lambda *args: known)
    return known


@pytest.fixture
def data(tmp_path: Path, acoustic: KnownAcoustic) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    lines = {name: "" for name in ("wav.scp", "utt2num_samples", "text")}
    for number, (utt, text) in enumerate(TEXTS.items(), start=1):
        num_samples = round((3 * len(acoustic.units.encode(text)) + 1 + number) * SHIFT_S * 16000)
        signal = np.full(num_samples, number / 10, dtype=np.float32)
        soundfile.write(folder / f"{utt}.wav", signal, 16000, subtype="FLOAT")
        for name, value in zip(lines, (folder / f"{utt}.wav", num_samples, text), strict=True):
            lines[name] += f"{utt} {value}".rstrip() + "\n"
    for name, content in lines.items():
        (folder / name).write_text(content)
    return folder


def options(data: Path, output: Path, *more: str) -> list[str]:
    needed = ["--asr_train_config", "none", "--asr_model_file", "none", "--device", "cpu"]
    return [*needed, "--data_dir", str(data), "--output_dir", str(output), *more]


def read(path: Path) -> dict[str, str]:
    return dict((f"{line} ").split(" ", 1) for line in path.read_text().splitlines())


def left_out(folder: Path) -> dict[str, str]:
    return dict(line.split("\t") for line in (folder / "skipped.txt").read_text().splitlines())


def expected_ctm_token(acoustic: KnownAcoustic) -> list[str]:
    lines = []
    for utt, text in TEXTS.items():
        for place, unit in enumerate(acoustic.units.encode(text)):
            start, token = (3 * place + 1) * SHIFT_S, acoustic.token_list[unit]
            lines.append(f"{utt} 1 {start:.3f} {2 * SHIFT_S:.3f} {token} 0.8000")
    return lines


@pytest.mark.parametrize("search", ["greedy", "prefix_beam", "phone_sync_beam"])
def test_files_of_every_search(
    search: str, acoustic: KnownAcoustic, data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    threshold = ("--blank_threshold", "0.75")
    more = ("--search", search, "--batch_size", "3", *threshold)
    asr_inference.main(options(data, output, *more))
    best = output / "1best_recog"
    assert {utt: text.strip() for utt, text in read(best / "text").items()} == TEXTS
    token_int = {utt: ids.split() for utt, ids in read(best / "token_int").items()}
    assert token_int == {
        utt: [str(u) for u in acoustic.units.encode(t)] for utt, t in TEXTS.items()
    }
    tokens = {utt: tokens.split() for utt, tokens in read(best / "token").items()}
    assert tokens["utt0"] == [acoustic.token_list[int(unit)] for unit in token_int["utt0"]]
    assert all(float(score) <= 0 for score in read(best / "score").values())
    assert (best / "ctm_token").read_text().splitlines() == expected_ctm_token(acoustic)
    words = [line.split() for line in (best / "ctm").read_text().splitlines()]
    assert [line[4] for line in words if line[0] == "utt1"] == TEXTS["utt1"].split()
    stats = json.loads((output / "stats.json").read_text())
    assert stats["num_utts"] == 4 and stats["search_s"] >= 0
    steps = sum(len(ids) for ids in token_int.values())
    frames = sum(3 * len(ids) + 1 + n for n, ids in enumerate(token_int.values(), start=1))
    ratio = frames / steps if search == "phone_sync_beam" else 1.0
    assert stats["frames_per_step"] == pytest.approx(ratio, abs=1e-3)


def test_nbest(acoustic: KnownAcoustic, data: Path, tmp_path: Path) -> None:
    more = ("--search", "prefix_beam", "--beam_size", "4", "--nbest", "3")
    asr_inference.main(options(data, tmp_path / "out", *more))
    scores = [read(tmp_path / f"out/{n}best_recog/score") for n in (1, 2, 3)]
    texts = [read(tmp_path / f"out/{n}best_recog/token_int") for n in (1, 2, 3)]
    for utt in TEXTS:
        first, second, third = (float(table[utt]) for table in scores)
        assert first >= second >= third
        assert len({table[utt] for table in texts}) == 3
    assert (tmp_path / "out/3best_recog/ctm").is_file()


def test_options_from_yaml_and_hot_words(
    acoustic: KnownAcoustic, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "hot.txt").write_text("kitchen\n")
    config = {"search": "phone_sync_beam", "hot_words": str(tmp_path / "hot.txt")}
    (tmp_path / "decode.yaml").write_text(json.dumps(config))
    scores = []
    for more in (("--hot_word_weight", "0"), ("--hot_word_weight", "7")):
        more = ("--config", str(tmp_path / "decode.yaml"), *more)
        asr_inference.main(options(data, tmp_path / "out", *more))
        scores.append(read(tmp_path / "out/1best_recog/score"))
    gains = {utt: float(scores[1][utt]) - float(scores[0][utt]) for utt in TEXTS}
    # Not to the last digit: the beam holds other alignments. Which, depends on the 20 units that
    # are listed of a frame's 49 equal ones: off by 0.046 with the first ones, by 0.005 with those
    # that torch.topk picks, by 0.062 with all of them in any order (beams from 10 to 40).
    assert gains == pytest.approx({"utt0": 7.0, "utt1": 0.0, "utt2": 0.0, "utt3": 0.0}, abs=0.05)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--search", "best"), "--search best is unknown"),
        (("--nbest", "2"), "use --search prefix_beam"),
        (("--hot_words", "x"), "use --search prefix_beam"),
        (("--search", "prefix_beam", "--hot_words", "x"), "--hot_words x: no such file"),
        (("--search", "prefix_beam", "--nbest", "11"), r"nbest (11) must lie"),
        (("--search", "prefix_beam", "--ngram_file", "x", "--ngram_type", "y"), "word or unit"),
    ],
)
def test_bad_options(
    more: tuple[str, ...], reason: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        asr_inference.main(options(data, tmp_path / "out", *more))
    assert reason in capsys.readouterr().err.splitlines()[-1]


def test_forced_alignment(acoustic: KnownAcoustic, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "aligned"
    asr_align.main(options(data, output))
    assert (output / "ctm_token").read_text().splitlines() == expected_ctm_token(acoustic)
    assert left_out(output) == {}
    right = {utt: float(score) for utt, score in read(output / "score").items()}
    # Other texts: wrong, too long, with a character that no unit has, absent.
    (tmp_path / "text").write_text(
        f"utt0 {SENTENCES[3]}\nutt1 {' '.join(SENTENCES)}\nutt2 \u4f60\n"
    )
    asr_align.main(options(data, output, "--text", str(tmp_path / "text")))
    skipped = left_out(output)
    assert set(skipped) == {"utt1", "utt2", "utt3"}
    assert "frames, there are" in skipped["utt1"] and "vocabulary" in skipped["utt2"]
    assert "no text" in skipped["utt3"]
    assert float(read(output / "score")["utt0"]) < right["utt0"] - 0.5


def test_nothing_to_align(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "text").write_text("other hello\n")
    with pytest.raises(SystemExit):
        asr_align.main(options(data, tmp_path / "out", "--text", str(tmp_path / "text")))
    assert "no utterance can be aligned; utt1: it has no text" in capsys.readouterr().err


def test_pictures(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import matplotlib.image

    plots = tmp_path / "plots"
    plot_posterior.main(options(data, plots, "--num_utts", "3"))
    assert sorted(path.name for path in plots.iterdir()) == ["utt0.png", "utt1.png", "utt2.png"]
    greedy = matplotlib.image.imread(plots / "utt0.png")
    assert greedy.ndim == 3 and greedy.std() > 0.05
    # The same hypotheses from a folder of asr_inference give the same picture; others another.
    asr_inference.main(options(data, tmp_path / "decode"))
    recog = tmp_path / "decode/1best_recog"
    again = (("--utts", "utt0", "utt3"), ("--recog_dir", str(recog)))
    plot_posterior.main(options(data, plots, *again[0], *again[1]))
    assert np.array_equal(matplotlib.image.imread(plots / "utt0.png"), greedy)
    (recog / "token_int").write_text("utt0 5 6\n")
    plot_posterior.main(options(data, plots, *again[1]))  # those that have a hypothesis
    assert not np.array_equal(matplotlib.image.imread(plots / "utt0.png"), greedy)
    bad = {"lacks utt1": (*again[1], "--utts", "utt1"), "not in": ("--utts", "none")}
    for reason, more in bad.items():
        with pytest.raises(SystemExit):
            plot_posterior.main(options(data, plots, *more))
        assert reason in capsys.readouterr().err


def test_unreadable_audio_is_left_out_and_listed(
    acoustic: KnownAcoustic, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    whole = tmp_path / "whole"
    asr_inference.main(options(data, whole))
    (data / "utt0.wav").unlink()
    (data / "utt2.wav").write_bytes(b"no audio")
    output = tmp_path / "out"
    asr_inference.main(options(data, output, "--max_skipped", "0.5", "--nbest", "1"))
    found, expected = (read(folder / "1best_recog/text") for folder in (output, whole))
    assert found == {utt: expected[utt] for utt in ("utt1", "utt3")}
    skipped = left_out(output)
    assert set(skipped) == {"utt0", "utt2"}
    assert "no such file" in skipped["utt0"] and "not audio" in skipped["utt2"]
    stats = json.loads((output / "stats.json").read_text())
    assert (stats["num_utts"], stats["num_rows"], stats["max_skipped"]) == (2, 4, 0.5)
    asr_inference.main(options(data, output, "--judge_skipped", "false"))
    with pytest.raises(SystemExit):
        asr_inference.main(options(data, output))
    assert "2 of 4 rows cannot be used" in capsys.readouterr().err.splitlines()[-1]
    output = tmp_path / "aligned"
    asr_align.main(options(data, output))
    assert set(left_out(output)) == {"utt0", "utt2"}
    plot_posterior.main(options(data, tmp_path / "plots"))
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert names == ["utt1.png", "utt3.png"]


def test_dump_leaves_out_what_cannot_be_read(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = [
        {"key": f"{utt}-ASR", "task": "ASR", "target": "x", "GT": "x", "utt": utt} for utt in TEXTS
    ]
    write_jsonl(data / "psslm.jsonl", rows)
    (data / "utt1.wav").unlink()
    output = tmp_path / "steps"
    dump_steps.main(options(data, output, "--max_skipped", "0.25"))
    keys = [json.loads(line)["key"] for line in (output / "psslm.jsonl").read_text().splitlines()]
    assert keys == ["utt0-ASR", "utt2-ASR", "utt3-ASR"]
    assert (output / "skipped.txt").read_text().startswith("utt1\tutterance 'utt1' of ")
    stats = json.loads((output / "stats.json").read_text())
    assert (stats["num_utts"], stats["num_rows"], stats["max_skipped"]) == (3, 4, 0.25)
    with pytest.raises(SystemExit):
        dump_steps.main(options(data, output))
    assert "1 of 4 rows cannot be used" in capsys.readouterr().err.splitlines()[-1]
