"""Row ``padding``: the share of padding in the batches that training makes.

in order: published and plain alike: the same number of samples in each batch, as the corpus has
them. The share is what counts here; what is timed is making the list of an epoch's batches.

Settings and lengths are those of a finished recipe: Whisper-CTC (samples of audio) and the bridge
(positions of the language model).
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import Case, Setting
from espnet_psslm.data.audio import read_scp

MOST = 0.10  # of a batch's positions
Batches = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Size:
    """One size of the row."""

    model: str  # folder below the recipe's exp


FULL = (Size("ctc"), Size("psslm_text"), Size("psslm_sft"))


def padding_share(batches: Batches, lengths: Mapping[str, int]) -> float:
    """Positions that hold nothing, of all."""
    filled = sum(lengths[key] for batch in batches for key in batch)
    held = sum(len(batch) * max(lengths[key] for key in batch) for batch in batches)
    return 1 - filled / held


def make_batches(config: Mapping[str, Any]) -> Batches:
    """The batches of an epoch, as ESPnet's trainer asks for them."""
    from espnet2.samplers.build_batch_sampler import build_batch_sampler

    return list(
        build_batch_sampler(
            type=config["batch_type"],
            batch_size=config["batch_size"],
            batch_bins=config["batch_bins"],
            shape_files=config["train_shape_file"],
            sort_in_batch=config["sort_in_batch"],
            sort_batch=config["sort_batch"],
            drop_last=config["drop_last_iter"],
            min_batch_size=config["min_batch_size"],
            fold_lengths=config["fold_length"],
        )
    )


def in_order(config: Mapping[str, Any], num_samples: int, num_batches: int) -> Batches:
    """As many batches, of equal numbers of samples, in the order of the corpus."""
    size = -(-num_samples // num_batches)
    return make_batches({**config, "batch_type": "unsorted", "batch_size": size})


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row; paths of a recipe start at its folder."""
    with contextlib.chdir(setting.recipe):
        for size in sizes or FULL:
            path = Path("exp", size.model, "config.yaml")
            yield make_case(setting, size, yaml.safe_load(path.read_text(encoding="utf-8")))


def make_case(setting: Setting, size: Size, config: Mapping[str, Any]) -> Case:
    """A case of one training's settings."""
    (shapes,) = config["train_shape_file"]
    lengths = {key: int(shape.split(",")[0]) for key, shape in read_scp(shapes).items()}
    batches = make_batches(config)
    plain = in_order(config, len(lengths), len(batches))
    share, other = padding_share(batches, lengths), padding_share(plain, lengths)

    def check() -> None:
        for made in (batches, plain):
            assert sorted(key for batch in made for key in batch) == sorted(lengths)

    return Case(
        row="padding",
        size=f"{size.model}, {len(batches)} batches: {share:.1%}, in order {other:.1%}",
        ways={
            "ours": lambda: make_batches(config),
            "in order": lambda: in_order(config, len(lengths), len(batches)),
        },
        against="in order",
        target=None,
        bound_s=setting.machine.seconds(moved=Path(shapes).stat().st_size),  # read once
        items=len(lengths),
        unit="samples",
        check=check,
        limits={f"padding below {MOST:.0%}": lambda _: share < MOST},
    )
