"""Projectors: from Steps to the input width of the language model, chosen by name in YAML.

Each class says which Steps it ``takes``. On sparse posteriors none of them builds the dense rows.
"""

from espnet_psslm.bridge.projector.attention import CrossAttention, QFormer
from espnet_psslm.bridge.projector.base import Ends, Projector, build_projector
from espnet_psslm.bridge.projector.linear import ConvLinear, LinearSiLU, StackedLinear
from espnet_psslm.bridge.projector.table import Lego, LegoTop1, SimpleLinear

PROJECTORS: dict[str, type[Projector]] = {
    "linear-silu": LinearSiLU,
    "linear": StackedLinear,
    "cov1d-linear": ConvLinear,
    "q-former": QFormer,
    "cross-attention": CrossAttention,
    "simple_linear": SimpleLinear,
    "lego": Lego,
    "lego-top1": LegoTop1,
}

__all__ = [
    "PROJECTORS",
    "ConvLinear",
    "CrossAttention",
    "Ends",
    "Lego",
    "LegoTop1",
    "LinearSiLU",
    "Projector",
    "QFormer",
    "SimpleLinear",
    "StackedLinear",
    "build_projector",
]
