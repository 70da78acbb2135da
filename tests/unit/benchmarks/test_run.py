"""The harness itself: turns, quartiles, memory, and what is written. Nothing here is timed."""

import json

import pytest
import torch

from benchmarks import lego, measure, reduction, run
from benchmarks.measure import Case, Machine, Measured, Setting
from espnet_psslm.bin.command import FAULT

CPU = torch.device("cpu")
MACHINE = Machine(CPU, copy_bytes_s=1e9, flops_s={torch.float32: 1e12})
FIELDS = {
    "row", "size", "ours_s", "baseline_s", "ratio", "bound_ratio", "target", "met",
    "peak_mb_ours", "peak_mb_baseline", "ratio_published", "ratio_plain",
}  # fmt: skip


def a_case(**changed):
    values = {
        "row": "lego",
        "size": "tiny",
        "ways": {"ours": lambda: None, "published": lambda: None, "plain": lambda: None},
        "against": "published",
        "target": 8.0,
        "bound_s": 0.25,
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


def test_tallest_sees_new_tensors_only():
    rows = torch.ones(3, 4, 7, requires_grad=True)
    assert measure.tallest(lambda: rows.flatten(0, 1), 7) == 0
    assert measure.tallest(lambda: rows.exp(), 7) == 12
    assert measure.tallest(lambda: rows.mean(2), 7) == 0
    assert measure.tallest(lambda: rows.sum().backward(), 7) == 12


def test_bound_adds_bytes_and_operations():
    assert MACHINE.seconds(moved=2e9, flops=1e12) == pytest.approx(3.0)


def test_entry_has_the_fields_and_ratios_of_both_baselines():
    entry = run.to_entry(a_case(), times(ours=0.5, published=5.0, plain=2.0))
    assert entry.keys() == FIELDS
    assert entry | {
        "row": "lego", "size": "tiny", "ours_s": 0.5, "baseline_s": 5.0, "ratio": 10.0,
        "bound_ratio": 20.0, "target": 8.0, "met": True, "peak_mb_ours": 5.0,
        "peak_mb_baseline": 50.0, "ratio_published": 10.0, "ratio_plain": 4.0,
    } == entry  # fmt: skip


def test_one_baseline_stands_for_both():
    case = a_case(ways={"ours": None, "dense": None}, against="dense")
    entry = run.to_entry(case, times(ours=0.5, dense=2.0))
    assert entry["ratio"] == entry["ratio_published"] == entry["ratio_plain"] == 4.0
    assert entry["met"] is False


def test_met_needs_the_limits_too_and_is_open_without_a_target():
    limits = {"never": lambda measured: False}
    fast = times(ours=0.5, published=5.0, plain=2.0)
    assert run.to_entry(a_case(limits=limits), fast)["met"] is False
    assert run.to_entry(a_case(target=None), fast)["met"] is None
    assert run.to_entry(a_case(target=None, limits=limits), fast)["met"] is False
    line = run.to_columns(a_case(limits=limits), fast, run.to_entry(a_case(), fast))
    assert "missed: never" in line and len(line) == len(run.COLUMNS)


def test_a_way_with_other_results_is_not_timed():
    def disagree():
        raise AssertionError("not the same")

    with pytest.raises(AssertionError, match="not the same"):
        run.run_case(a_case(check=disagree), Setting(MACHINE))


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
    some = ["--row", "text_stream", "--row", "decode", "--row", "lego", "--row", "decode"]
    rows = run.choose_rows(parser.parse_args([*lacking, *some]))
    assert rows == ["text_stream", "decode", "lego"]


def test_json_and_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure, "measure_machine", lambda device, quick: MACHINE)
    monkeypatch.setattr(reduction, "SMALL", reduction.Size(2, 20, 12, listed=4, target=1e-9))
    monkeypatch.setattr(run, "QUICK_SECONDS", 0.0)
    target = tmp_path / "numbers.json"
    report = tmp_path / "report.md"
    run.main(["--quick", "--row", "reduction", "--json", str(target), "--markdown", str(report)])
    (entry,) = json.loads(target.read_text())
    assert entry.keys() == FIELDS
    assert (entry["row"], entry["size"]) == ("reduction", "B 2, T 20, V 12, K 4")
    assert entry["met"] is True and entry["peak_mb_ours"] > 0
    printed = capsys.readouterr().out
    assert "| reduction | B 2, T 20, V 12, K 4 |" in printed
    assert printed.startswith("Commit ")
    assert report.read_text() == printed


def test_what_was_timed_is_kept_when_a_later_row_fails(tmp_path, monkeypatch):
    def broken(setting):
        yield a_case(ways={"ours": lambda: None, "published": lambda: None})
        yield a_case(check=lambda: 1 / 0)

    monkeypatch.setattr(measure, "measure_machine", lambda device, quick: MACHINE)
    monkeypatch.setattr(lego, "cases", broken)
    monkeypatch.setattr(run, "QUICK_SECONDS", 0.0)
    files = [tmp_path / name for name in ("numbers.json", "report.md")]
    with pytest.raises(SystemExit) as ended:
        run.main(["--quick", "--row", "lego", "--json", str(files[0]), "--markdown", str(files[1])])
    assert ended.value.code == FAULT
    assert len(json.loads(files[0].read_text())) == 1
    assert files[1].read_text().count("| lego | tiny |") == 1
