"""The scaling simulator: its limits by hand, and that docs/scaling.md is what it prints."""

import math

import pytest
import yaml

from benchmarks import scaling

MACHINE = {
    "devices_per_node": 8, "cores_per_node": 64, "memory_bytes_per_node": 1e15, "flops_s": 1e3,
    "node_link_bytes_s": 1e12, "link_bytes_s": 1e11, "latency_s": 0.0, "storage_bytes_s": 1e15,
    "overlap": 0.0, "jitter": 0.0,
}  # fmt: skip
JOB = {
    "flops_per_item": 100, "batch": 10, "gradient_bytes": 0, "read_bytes_per_item": 0,
    "reader_s_per_item": 0, "written_bytes_per_item": 0, "rows_per_item": 1,
    "manifest_bytes_per_row": 50, "memory_bytes_per_row": 100, "parse_s_per_row": 1e-3,
}  # fmt: skip


def simulate(devices=16, machine=None, **job):
    machine = {**MACHINE, **(machine or {})}
    return scaling.simulate({**JOB, **job}, machine, items=1600, rows=1600, devices=devices)


@pytest.mark.parametrize("devices", [1, 8, 16])
def test_nothing_in_the_way_scales_perfectly(devices):
    found = simulate(devices)
    assert found.step_s == pytest.approx(1.0)  # ten items of 100 operations at 1000 a second
    assert found.updates == 160 / devices
    assert found.wall_h * devices * 3600 == pytest.approx(160)
    assert (found.efficiency, found.bound_by) == (1.0, "devices")


def test_measured_step_goes_before_operations():
    assert simulate(step_s=0.25).step_s == pytest.approx(0.25)


def test_reduction_by_hand():
    found = simulate(16, gradient_bytes=8e10)
    assert found.step_s == pytest.approx(1.0 + 2 * 15 / 16 * 0.8)
    assert found.bound_by == "reduction"
    inside = simulate(8, gradient_bytes=8e10)  # within a node, at ten times the bandwidth
    assert inside.step_s == pytest.approx(1.0 + 2 * 7 / 8 * 0.08)
    hidden = simulate(16, {"overlap": 1.0}, gradient_bytes=4e10)
    assert (hidden.step_s, hidden.bound_by) == (pytest.approx(1.0), "devices")
    latency = simulate(16, {"latency_s": 0.1}, gradient_bytes=1e-9)
    assert latency.step_s == pytest.approx(1.0 + 2 * 4 * 0.1)


def test_storage_and_readers_by_hand():
    slow = simulate(16, {"storage_bytes_s": 100}, read_bytes_per_item=1, written_bytes_per_item=1)
    assert (slow.step_s, slow.bound_by) == (pytest.approx(3.2), "storage")
    assert slow.storage_bytes_s == pytest.approx(100)
    few = simulate(16, reader_s_per_item=1.6)  # eight cores a device
    assert (few.step_s, few.bound_by) == (pytest.approx(2.0), "readers")
    assert few.readers == pytest.approx(8)


def test_slowest_of_many_sets_the_pace():
    steps = [simulate(count, {"jitter": 0.1}).step_s for count in (1, 8, 64)]
    assert steps[0] == pytest.approx(1.0, abs=0.02)
    # Means of the largest of 8 and of 64 normal draws: 1.42 and 2.39 deviations.
    for step, deviations in zip(steps[1:], (1.42, 2.39), strict=True):
        assert step == pytest.approx(math.exp(0.1 * deviations), rel=0.02)


def test_manifests_fill_the_hosts_memory():
    found = simulate(16, {"memory_bytes_per_node": 1e6})
    assert found.memory_bytes == 8 * 1600 * 100
    assert found.bound_by == "host memory"
    assert found.startup_s == pytest.approx(1.6)
    assert scaling.disk_bytes({**JOB, "read_bytes_per_item": 3}, 10) == {
        "read": 30, "manifest": 500, "written": 0,
    }  # fmt: skip


@pytest.mark.parametrize("value", [3, [3], [3, "guessed"], ["3", "measured"]])
def test_numbers_name_their_source(value):
    with pytest.raises(ValueError, match=r"machine.jitter: .*needed is \[number, source\]"):
        scaling.values({"jitter": value}, "machine")


@pytest.mark.parametrize(
    ("setting", "match"), [("jobs.asr.batch=1", "no 'asr'"), ("jobs.text.batch=x", "'x' is no")]
)
def test_bad_setting_is_one_line(setting, match, capsys):
    with pytest.raises(SystemExit):
        scaling.main(["--set", setting])
    assert match in capsys.readouterr().err.splitlines()[-1]


def test_document_holds_what_the_script_prints(root, capsys):
    scaling.main([])
    tables = capsys.readouterr().out.strip()
    text = (root / "docs/scaling.md").read_text()
    assert tables in text
    rates = yaml.safe_load((root / "benchmarks/scaling.yaml").read_text())
    groups = [rates["machine"], *rates["jobs"].values()]
    words = {v[1].split(":")[0] for g in groups for v in g.values() if isinstance(v, list)}
    assert words == set(scaling.SOURCES)


def test_setting_changes_the_result(capsys):
    scaling.main(["--devices", "8", "--set", "jobs.shards.step_s=0.14"])
    lines = capsys.readouterr().out.splitlines()
    hours = float(lines[-1].split("|")[2])
    slowest = 0.14 * math.exp(0.05 * 1.42)
    assert hours == pytest.approx(1.11e9 / (128 * 8) * slowest / 3600, rel=0.02)
