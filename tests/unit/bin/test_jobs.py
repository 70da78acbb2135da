"""split_data and join_jobs."""

import json

import pytest

from espnet_psslm.bin.dump_steps import DumpStats
from espnet_psslm.bin.join_jobs import join, join_stats
from espnet_psslm.bin.split_data import main, split
from espnet_psslm.inference.made_with import write_made_with


@pytest.fixture
def data(tmp_path):
    """Three utterances with rows, one without, in an order that no sorting gives."""
    folder = tmp_path / "data"
    folder.mkdir()
    utts = ("d", "a", "c", "b")
    (folder / "wav.scp").write_text("".join(f"{utt} {utt}.wav\n" for utt in utts))
    (folder / "utt2num_samples").write_text("".join(f"{utt} 7\n" for utt in utts))
    keys = [("c", "ASR"), ("d", "ASR"), ("d", "QA"), ("a", "ASR")]
    rows = [
        {"key": f"{utt}-{task}", "utt": utt, "task": task, "target": "ä", "GT": "x"}
        for utt, task in keys
    ]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / "psslm.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("nj", "parts"), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_split_and_joined_again(data, tmp_path, nj, parts, capsys):
    main(["--data_dir", str(data), "--nj", str(nj), "--output_dir", str(tmp_path / "jobs")])
    assert capsys.readouterr().out == f"{parts}\n"
    assert {path.name for path in (tmp_path / "jobs").iterdir()} == set("123"[:parts])
    for job in (tmp_path / "jobs").iterdir():
        rows = [json.loads(line) for line in (job / "psslm.jsonl").read_text().splitlines()]
        assert rows and {row["utt"] for row in rows} <= set((job / "wav.scp").read_text()[::8])
    join(data, tmp_path, nj=parts)
    for name in ("wav.scp", "utt2num_samples", "psslm.jsonl"):
        assert (tmp_path / name).read_text() == (data / name).read_text()


def test_text_alone_is_split_and_joined(data, tmp_path):
    for name in ("wav.scp", "utt2num_samples"):
        (data / name).unlink()
    assert split(data, tmp_path / "jobs", nj=2) == 2
    parts = [(tmp_path / f"jobs/{job}/psslm.jsonl").read_text() for job in (1, 2)]
    assert "".join(parts) == (data / "psslm.jsonl").read_text()
    assert [part.count("\n") for part in parts] == [1, 3]  # both rows of d in one
    join(data, tmp_path, nj=2)
    assert (tmp_path / "psslm.jsonl").read_text() == (data / "psslm.jsonl").read_text()


def test_audio_without_its_table_is_named(data, tmp_path):
    row = {"key": "d-ASR", "utt": "d", "task": "ASR", "target": "x", "GT": "x", "path": "d.wav"}
    (data / "psslm.jsonl").write_text(json.dumps(row) + "\n")
    (data / "wav.scp").unlink()
    with pytest.raises(ValueError, match="wav.scp does not exist"):
        split(data, tmp_path / "jobs", nj=2)


def test_a_task_that_one_job_lacks(data, tmp_path):
    for job, text in ((1, "d-QA yes\n"), (2, None)):
        (tmp_path / f"jobs/{job}/QA").mkdir(parents=True)
        (tmp_path / f"jobs/{job}/text").write_text(f"{'da'[job - 1]} x\n")
        if text:
            (tmp_path / f"jobs/{job}/QA/text").write_text(text)
    (tmp_path / "jobs/1/steps.ark").write_bytes(b"\xff")
    join(data, tmp_path, nj=2)
    assert (tmp_path / "QA/text").read_text() == "d-QA yes\n"
    assert (tmp_path / "text").read_text() == "d x\na x\n"
    assert not (tmp_path / "steps.ark").exists()


def test_statistics_add_up():
    parts = [
        {"wall_s": 1.5, "audio_s": 3.0, "num_utts": 2, "frames_per_step": 3.0, "peak_rss_mb": 7.0},
        {"wall_s": 0.5, "audio_s": 1.0, "num_utts": 1, "frames_per_step": 1.0, "peak_rss_mb": 9.0},
    ]
    total = {"wall_s": 2.0, "audio_s": 4.0, "num_utts": 3, "frames_per_step": 2.0}
    assert join_stats(parts) == total | {"peak_rss_mb": 9.0}


def test_statistics_of_a_dump_add_up():
    parts = [
        DumpStats(num_utts=count, frames=10 * count, steps=count).as_dict(limit)
        for count, limit in ((3, {"num_rows": 4, "max_skipped": 0.1}),) * 2
    ]
    total = join_stats(parts)
    assert (total["num_utts"], total["frames_per_step"]) == (6, 10.0)
    assert (total["num_rows"], total["max_skipped"]) == (8, 0.1)


@pytest.mark.parametrize("limit", [0.3, 0.2])
def test_left_out_rows_are_judged_together(data, tmp_path, limit):
    """One of two rows is too many in its job, one of four is not."""
    for job, lines in ((1, ""), (2, "d-QA\tno such file\n")):
        folder = tmp_path / f"jobs/{job}"
        folder.mkdir(parents=True)
        (folder / "skipped.txt").write_text(lines)
        stats = {"peak_rss_mb": 7.0, "load_s": 1.0, "num_rows": 2, "max_skipped": limit}
        (folder / "stats.json").write_text(json.dumps(stats))
    if limit == 0.3:
        join(data, tmp_path, nj=2)
    else:
        said = r"1 of 4 rows.*d-QA: no such file; more than 20\.00% \(--max_skipped\)"
        with pytest.raises(ValueError, match=said):
            join(data, tmp_path, nj=2)
    assert (tmp_path / "skipped.txt").read_text() == "d-QA\tno such file\n"
    assert json.loads((tmp_path / "stats.json").read_text())["num_rows"] == 4


def test_results_of_two_models_are_not_joined(data, tmp_path):
    for job, model in ((1, "a"), (2, "a")):
        folder = tmp_path / f"jobs/{job}"
        folder.mkdir(parents=True)
        (folder / "text").write_text(f"{'da'[job - 1]} x\n")
        write_made_with(folder, model)
    join(data, tmp_path, nj=2)
    made_with = (tmp_path / "made_with.json").read_text()
    assert json.loads(made_with) == {"model_and_options": "a"}
    (tmp_path / "text").unlink()
    for change in (lambda path: write_made_with(path.parent, "b"), lambda path: path.unlink()):
        change(tmp_path / "jobs/2/made_with.json")
        with pytest.raises(ValueError, match="jobs/2 was made by another model.*run the stage"):
            join(data, tmp_path, nj=2)
        assert not (tmp_path / "text").exists()


def test_what_is_missing_is_named(data, tmp_path):
    with pytest.raises(ValueError, match="--nj 0: must be at least 1"):
        split(data, tmp_path / "jobs", nj=0)
    (tmp_path / "jobs/1").mkdir(parents=True)
    with pytest.raises(ValueError, match="jobs/1: holds nothing; run the job again"):
        join(data, tmp_path, nj=1)
    (data / "wav.scp").write_text("d d.wav\n")
    with pytest.raises(ValueError, match="row 'c-ASR'.*'c', which is not in wav.scp"):
        split(data, tmp_path / "jobs", nj=2)
