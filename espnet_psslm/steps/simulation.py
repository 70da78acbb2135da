"""The learned simulator in the training of the bridge: ``simulator: learned``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.random import Generator
from torch.nn.utils.rnn import pad_sequence

from espnet_psslm.bridge.simulate import Rows, Simulator, one_hot_rows
from espnet_psslm.device import HOST
from espnet_psslm.pack_files import relocated
from espnet_psslm.steps.error_bins import UNKNOWN_BIN
from espnet_psslm.steps.learned import NUM_DRAWS, LearnedSimulator, most_rows
from espnet_psslm.steps.made import Made, check_made

BATCH = 256  # texts that are written at once


@dataclass(frozen=True)
class Weights:
    """How often a text is asked in each error bin."""

    bins: tuple[int, ...]
    shares: np.ndarray  # summed up

    @classmethod
    def of(cls, weights: Mapping[int, float], most: int, name: str) -> Self:
        """Check weights that a configuration gives.

        Args:
            weights: error bin -> weight.
            most: the last bin.
            name: of the option, for the message.

        Raises:
            ValueError: if a bin is unknown, or the weights have no sense.
        """
        numbers = {int(number): float(weight) for number, weight in weights.items()}
        if unknown := [number for number in numbers if not 0 <= number <= most]:
            raise ValueError(f"simulator_conf.{name}: {unknown} is unknown; use 1 to {most}")
        shares = np.array(list(numbers.values()))
        if not (shares >= 0).all() or not shares.sum():
            raise ValueError(f"simulator_conf.{name}: weights {shares.tolist()} have no sense")
        return cls(tuple(numbers), np.cumsum(shares / shares.sum()))

    @property
    def each(self) -> np.ndarray:
        """(number of bins,), which sum to 1."""
        return np.diff(self.shares, prepend=0.0)

    def draw(self, rng: Generator) -> int:
        """An error bin."""
        place = int(np.searchsorted(self.shares, rng.random(), side="right"))
        return self.bins[min(place, len(self.bins) - 1)]  # rounding may leave the last below 1


class Learned(Simulator):
    """Draws rows with a network that was trained on texts and dumped Steps.

    Every text has random numbers of its own, so that it is heard alike however it is batched.

    Args:
        num_units: V.
        blank_id: the CTC blank.
        train_config: ``config.yaml`` of ``simulator_train``.
        model_file: its trained parameters.
        bins: error bin -> weight: a text is asked in one of these, drawn anew each time; none:
            as often as ``measured`` found them.
        bins_by_epoch: first epoch -> such weights, which hold from that epoch on.
        measured: what ``bridge.measure.measure`` returns; none either: the network decides how
            many errors there are.
        temperature: of the choice of each row's best unit; above 1 for more errors.

    Raises:
        ValueError: if a file is missing or of other units, a bin or weight has no sense, or what
            was learnt was made otherwise than what was measured.
    """

    writes_together = True

    def __init__(
        self,
        num_units: int,
        *,
        blank_id: int,
        train_config: str,
        model_file: str,
        bins: Mapping[int, float] | None = None,
        bins_by_epoch: Mapping[int, Mapping[int, float]] | None = None,
        measured: Mapping[str, Any] | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(num_units, blank_id=blank_id)
        self.network, self.made = load_network(train_config, model_file, num_units=num_units)
        counted = (measured or {}).get("made", {})
        check_made(self.made, counted, place=f"what {model_file} has learnt")
        most = self.network.num_bins
        first = bins or (measured or {}).get("error_bins") or {UNKNOWN_BIN: 1.0}
        self.bins = {0: Weights.of(first, most, "bins")}  # from the validation's epoch on
        for epoch, weights in (bins_by_epoch or {}).items():
            self.bins[int(epoch)] = Weights.of(weights, most, f"bins_by_epoch.{epoch}")
        self.temperature = temperature

    def __call__(self, unit_ids: list[int], rng: Generator) -> Rows:
        """Draw one posterior; see ``Simulator``."""
        return self.together([unit_ids], [rng])[0]

    @property
    def weights(self) -> Weights:
        """Of the error bins, in this epoch."""
        return self.bins[max(epoch for epoch in self.bins if epoch <= self.epoch)]

    def draw(self, num_units: int, rng: Generator) -> tuple[int, np.ndarray]:
        """All randomness of a text of so many units: its error bin, and numbers for its rows."""
        return self.weights.draw(rng), rng.random((int(most_rows(num_units)), NUM_DRAWS))

    def together(self, texts: Sequence[list[int]], rngs: Iterable[Generator]) -> list[Rows]:
        """The network is asked for many texts at once."""
        drawn = [self.draw(len(text), rng) for text, rng in zip(texts, rngs, strict=True)]
        rows: list[Rows] = [one_hot_rows([]) for _ in texts]
        spoken = sorted((i for i, text in enumerate(texts) if text), key=lambda i: len(texts[i]))
        for start in range(0, len(spoken), BATCH):
            part = spoken[start : start + BATCH]
            longest = max(len(drawn[i][1]) for i in part)
            numbers = np.zeros((len(part), longest, NUM_DRAWS))
            for place, i in enumerate(part):
                numbers[place, : len(drawn[i][1])] = drawn[i][1]
            written = self.network.write(
                pad_sequence([torch.tensor(texts[i]) for i in part], batch_first=True),
                torch.tensor([len(texts[i]) for i in part]),
                numbers,
                torch.tensor([drawn[i][0] for i in part]),
                temperature=self.temperature,
            )
            for i, (ids, probs) in zip(part, written, strict=True):
                rows[i] = ids, probs.astype(np.float32)
        return rows


def load_network(
    train_config: str | Path, model_file: str | Path, *, num_units: int
) -> tuple[LearnedSimulator, Made]:
    """Load what ``simulator_train`` has trained.

    Args:
        train_config: its ``config.yaml``.
        model_file: its trained parameters.
        num_units: V that is needed.

    Returns:
        The network, and how the Steps were made that it has learnt from.

    Raises:
        ValueError: if a file is missing, or of other units.
    """
    for name, path in {"train_config": train_config, "model_file": model_file}.items():
        if not Path(path).is_file():
            raise ValueError(f"simulator_conf.{name}: no file {path}; simulator_train makes it")
    # Imported here: ESPnet's tasks take seconds, and other simulations do without.
    from espnet_psslm.training.simulator import SimulatorTask

    with relocated(train_config) as path:  # in a pack it names files by where they were packed
        model, args = SimulatorTask.build_model_from_file(str(path), model_file, HOST.type)
    if (trained := model.network.num_units) != num_units:
        raise ValueError(
            f"simulator_conf.train_config {train_config} is of {trained} units, the vocabulary "
            f"has {num_units}: train the simulator on Steps of this acoustic model"
        )
    return model.network.eval(), getattr(args, "steps_made", {})
