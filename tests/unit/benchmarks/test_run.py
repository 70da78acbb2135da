"""The harness itself: turns, quartiles, memory, and what is written. Nothing here is timed."""

import json

import pytest
import torch

from benchmarks import ctc_step, encoder_ctc, measure, run, text_step
from benchmarks.measure import Case, Measured, Setting
from espnet_psslm.bin.command import FAULT

CPU = torch.device("cpu")
FIELDS = {
    "row", "size", "ours_s", "baseline_s", "ratio", "target", "met", "peak_mb_ours",
    "peak_mb_baseline",
}  # fmt: skip


def a_case(**changed):
    values = {
        "row": "text_step",
        "size": "tiny",
        "ways": {"ours": lambda: None, "plain": lambda: None},
        "target": 8.0,
        "items": 10,
        "unit": "rows",
        "check": lambda: None,
    }
    return Case(**(values | changed))


def times(**medians):
    spread = {name: (0.9 * median, median, 1.2 * median) for name, median in medians.items()}
    return Measured(spread, {name: 10.0 * median for name, median in medians.items()})


def test_ways_take_turns_and_none_is_always_first(monkeypatch):
    calls = []
    ways = {name: lambda name=name: calls.append(name) for name in "abc"}
    found = measure.take_turns(ways, CPU, seconds=0.0, least=3, most=9)
    assert found.keys() == ways.keys()
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"  # the first round warms up


def test_quartiles():
    assert measure.quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == (2.0, 3.0, 4.0)
    assert measure.quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_peak_is_what_is_held_at_once():
    def one_after_the_other():
        for _ in range(4):
            torch.empty(1_000_000)

    def together():
        return [torch.empty(1_000_000) for _ in range(4)]

    assert measure.peak_mb(one_after_the_other, CPU) == pytest.approx(4.0, rel=0.01)
    assert measure.peak_mb(together, CPU) == pytest.approx(16.0, rel=0.01)


def test_entry_has_the_fields_and_the_ratio():
    entry = run.to_entry(a_case(), times(ours=0.5, plain=5.0))
    assert entry.keys() == FIELDS
    assert entry | {
        "row": "text_step", "size": "tiny", "ours_s": 0.5, "baseline_s": 5.0, "ratio": 10.0,
        "target": 8.0, "met": True, "peak_mb_ours": 5.0, "peak_mb_baseline": 50.0,
    } == entry  # fmt: skip
    assert run.to_entry(a_case(), times(ours=0.5, plain=2.0))["met"] is False


def test_met_needs_the_limits_too_and_is_open_without_a_target():
    limits = {"never": lambda measured: False}
    fast = times(ours=0.5, plain=5.0)
    assert run.to_entry(a_case(limits=limits), fast)["met"] is False
    assert run.to_entry(a_case(target=None), fast)["met"] is None
    assert run.to_entry(a_case(target=None, limits=limits), fast)["met"] is False
    line = run.to_columns(a_case(limits=limits), fast, run.to_entry(a_case(), fast))
    assert "missed: never" in line and len(line) == len(run.COLUMNS)


def test_a_way_with_other_results_is_not_timed():
    def disagree():
        raise AssertionError("not the same")

    with pytest.raises(AssertionError, match="not the same"):
        run.run_case(a_case(check=disagree), Setting(CPU))


def test_rows_that_need_a_recipe(tmp_path, caplog):
    parser = run.get_parser()
    lacking = ["--recipe", str(tmp_path)]
    rows = run.choose_rows(parser.parse_args(lacking))
    assert rows == [row for row in run.ROWS if row not in run.NEED_RECIPE]
    assert "decode is left out" in caplog.text
    with pytest.raises(ValueError, match="--row decode needs a finished recipe"):
        run.choose_rows(parser.parse_args([*lacking, "--row", "decode"]))
    model = tmp_path / "exp/psslm_text/valid.acc.ave.pth"
    model.parent.mkdir(parents=True)
    model.touch()
    assert run.choose_rows(parser.parse_args(lacking)) == list(run.ROWS)
    some = ["--row", "text_stream", "--row", "decode", "--row", "text_step", "--row", "decode"]
    rows = run.choose_rows(parser.parse_args([*lacking, *some]))
    assert rows == ["text_stream", "decode", "text_step"]


def test_json_and_table(tmp_path, monkeypatch, capsys):
    tiny = {"num_units": 20, "spoken": 3, "width": 32, "layers": 2, "heads": 2}
    monkeypatch.setattr(encoder_ctc, "QUICK", ctc_step.Size(2, 0.5, **tiny, target=1e-9))
    monkeypatch.setattr(run, "QUICK_SECONDS", 0.0)
    target = tmp_path / "numbers.json"
    report = tmp_path / "report.md"
    run.main(["--quick", "--row", "encoder_ctc", "--json", str(target), "--markdown", str(report)])
    (entry,) = json.loads(target.read_text())
    assert entry.keys() == FIELDS
    assert (entry["row"], entry["size"]) == ("encoder_ctc", "2 x 0.5 s, 2 layers of 32")
    assert entry["met"] is True and entry["peak_mb_ours"] > 0
    printed = capsys.readouterr().out
    assert "| encoder_ctc | 2 x 0.5 s, 2 layers of 32 |" in printed
    assert printed.startswith("Commit ")
    assert report.read_text() == printed


def test_what_was_timed_is_kept_when_a_later_row_fails(tmp_path, monkeypatch):
    def broken(setting):
        yield a_case()
        yield a_case(check=lambda: 1 / 0)

    monkeypatch.setattr(text_step, "cases", broken)
    monkeypatch.setattr(run, "QUICK_SECONDS", 0.0)
    files = [tmp_path / name for name in ("numbers.json", "report.md")]
    options = ["--quick", "--row", "text_step", "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        run.main([*options, "--json", str(files[0]), "--markdown", str(files[1])])
    assert ended.value.code == FAULT
    assert len(json.loads(files[0].read_text())) == 1
    assert files[1].read_text().count("| text_step | tiny |") == 1
