"""Binary files as they are written, drawn and damaged: read as they are, or refused in one line."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from espnet_psslm.bridge.steps import FeatureSteps
from espnet_psslm.bridge.steps_file import StepsWriter, read_sample
from espnet_psslm.common.archive import Limits, unpack_archive
from espnet_psslm.data.audio import read_recording
from espnet_psslm.pack_files import open_pack
from tests.hostile.drawn import EXAMPLES, TEXTS, damaged, for_all, limited_memory
from tests.hostile.readers import READERS, fault_of
from tests.whole_files import (
    NUM_UNITS,
    RATE,
    as_tar,
    as_zip,
    contained,
    encoded,
    pack_members,
    steps_of_units,
)

pytestmark = pytest.mark.parametrize("examples", EXAMPLES)
CONTENTS = st.binary(max_size=50)
PLAIN_NAMES = st.from_regex(r"(d[0-9]/){0,2}[a-z_éß][a-z_éß.-]{0,9}", fullmatch=True)
ODD_NAMES = st.text("ab./\\\0 é", min_size=1, max_size=12) | st.sampled_from(
    [
        "../x",
        "../../../x",
        "a/../../x",
        "/x",
        "a",
        "a/b",
        "a//b",
        "./a",
        "b" * 300,
        "x/.",
        "..",
        "C:\\x",
    ]
)
SAMPLES = arrays.arrays(np.int16, st.tuples(st.integers(1, 300), st.integers(1, 3)))


@pytest.mark.parametrize("name", READERS)
def test_damaged_files(tmp_path: Path, examples: int, name: str) -> None:
    folder = tmp_path / "alone/place"
    folder.mkdir(parents=True)

    @for_all(examples, data=damaged(READERS[name].seeds(tmp_path)))
    def check(data: bytes) -> None:
        with limited_memory():
            assert fault_of(name, data, folder) is None


@pytest.fixture(params=["zip", "tar"])
def unpacked(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., dict[Path, bytes]]:
    """Pack members, unpack them into a fresh folder; the files that are anywhere afterwards."""
    make = {"zip": as_zip, "tar": as_tar}[request.param]

    def run(members: dict[str, bytes]) -> dict[Path, bytes]:
        root = tmp_path / "root"
        shutil.rmtree(root, ignore_errors=True)
        folder = root / "b/c/d"
        folder.mkdir(parents=True)
        path = tmp_path / f"a.{request.param}"
        path.write_bytes(make(members))
        try:
            unpack_archive(path, folder, limits=Limits())
        except ValueError as error:
            assert str(error).startswith("holds ") and "\n" not in str(error), error
        files = [path for path in root.rglob("*") if path.is_file()]
        return {path.relative_to(folder): path.read_bytes() for path in files}

    return run


def test_plain_archives_are_unpacked_as_they_are(
    unpacked: Callable[..., dict[Path, bytes]], examples: int
) -> None:
    @for_all(examples, members=st.dictionaries(PLAIN_NAMES, CONTENTS, max_size=5))
    def check(members: dict[str, bytes]) -> None:
        assert unpacked(members) == {Path(name): data for name, data in members.items()}


@pytest.mark.filterwarnings("ignore:Duplicate name")  # of names that end alike before a zero byte
def test_odd_archives_put_nothing_elsewhere(
    unpacked: Callable[..., dict[Path, bytes]], examples: int
) -> None:
    @for_all(examples, members=st.dictionaries(ODD_NAMES, CONTENTS, max_size=4))
    def check(members: dict[str, bytes]) -> None:
        for path, data in unpacked(members).items():  # relative_to has raised for one elsewhere
            assert data in members.values() and ".." not in path.parts


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AUDIO WAV", "AUDIO FLAC"])
def test_recordings_in_archives(tmp_path: Path, examples: int, kind: str) -> None:
    """The very samples, behind and before others."""

    @for_all(examples, both=st.tuples(SAMPLES, SAMPLES))
    def check(both: tuple[np.ndarray, np.ndarray]) -> None:
        data, places = b"", []
        for samples in both:
            entry = encoded(kind.split()[-1], samples)
            data += b"utt "
            places.append(len(data))
            data += contained(entry) if kind.startswith("AUDIO") else entry
        (tmp_path / "a.ark").write_bytes(data)
        for samples, place in zip(both, places, strict=True):
            found = read_recording(f"{tmp_path}/a.ark:{place}")
            wanted = (samples.astype(np.float32) / 32768).mean(axis=1)
            assert found.rate == RATE and found.channels == samples.shape[1]
            np.testing.assert_allclose(found.samples, wanted, rtol=0, atol=1e-7)


@st.composite
def posterior_steps(draw: st.DrawFn) -> tuple[list[list[int]], list[list[float]]]:
    """Units and probabilities of up to three steps."""
    listed = draw(st.integers(1, NUM_UNITS))
    ids = st.permutations(range(NUM_UNITS)).map(lambda order: list(order[:listed]))
    probs = st.lists(st.floats(0, 1, width=16), min_size=listed, max_size=listed)
    steps = draw(st.lists(st.tuples(ids, probs), min_size=1, max_size=3))
    return [step[0] for step in steps], [step[1] for step in steps]


def test_posterior_steps_come_back(tmp_path: Path, examples: int) -> None:
    @for_all(examples, batch=st.lists(posterior_steps(), min_size=1, max_size=3))
    def check(batch: list[tuple[list[list[int]], list[list[float]]]]) -> None:
        with StepsWriter(tmp_path / "steps.ark", {}) as writer:
            for number, (ids, probs) in enumerate(batch):
                writer.write_batch([str(number)], steps_of_units(ids, probs))
        for number, (ids, probs) in enumerate(batch):
            sample, spans = read_sample(writer.locations[str(number)])
            assert sample["unit_ids"].tolist() == ids and sample["probs"].tolist() == probs
            assert spans.tolist() == [[2 * step, 2 * step + 2] for step in range(len(ids))]


def test_feature_steps_come_back(tmp_path: Path, examples: int) -> None:
    shapes = st.tuples(st.integers(0, 4), st.integers(1, 5))

    # NumPy writes an array as it lies in memory: by rows, or by columns.
    @for_all(examples, values=arrays.arrays(np.float16, shapes), order=st.sampled_from("CF"))
    def check(values: np.ndarray, order: str) -> None:
        count = len(values)
        starts = torch.arange(count)[None]
        batch = torch.from_numpy(values.astype(np.float32, order=order))[None]
        with StepsWriter(tmp_path / "steps.ark", {}) as writer:
            writer.write_batch(
                ["utt"], FeatureSteps(batch, torch.tensor([count]), starts, starts + 1)
            )
        sample, spans = read_sample(writer.locations["utt"])
        np.testing.assert_array_equal(sample["features"].numpy(), values)
        assert spans.tolist() == [[step, step + 1] for step in range(count)]


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
NAMED = st.sampled_from([*pack_members(), "./psslm//model.pth"])
VALUES = st.recursive(
    PLAIN | NAMED,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


def test_configurations_in_packs(tmp_path: Path, examples: int) -> None:
    """What names a file of the pack names that file as it was unpacked; all else is as it was."""
    members = pack_members()

    @for_all(examples, config=st.dictionaries(TEXTS, VALUES, max_size=4))
    def check(config: dict[str, Any]) -> None:
        (tmp_path / "a.zip").write_bytes(as_zip(pack_members(config=yaml.safe_dump(config))))
        files = open_pack(tmp_path / "a.zip", cachedir=tmp_path / "packs")
        folder = Path(files["psslm_model_file"]).parent.parent

        def moved(value: Any) -> Any:
            if isinstance(value, list):
                return [moved(item) for item in value]
            if isinstance(value, dict):
                return {key: moved(item) for key, item in value.items()}
            if isinstance(value, str) and str(Path(value)) in members:
                return str(folder / value)
            return value

        found = yaml.safe_load(Path(files["psslm_train_config"]).read_text(encoding="utf-8"))
        assert found == moved(config)
