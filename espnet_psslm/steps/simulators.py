"""The simulators that a configuration can name (``simulator: ...``)."""

from espnet_psslm.bridge.simulate import MeasuredSimulator, Simulator, TASUSimulator
from espnet_psslm.steps.simulation import Learned

SIMULATORS: dict[str, type[Simulator]] = {
    "tasu": TASUSimulator,
    "measured": MeasuredSimulator,
    "learned": Learned,
}
