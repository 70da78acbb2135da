"""Read the published PS-SLM system's ``pytorch_model.bin``.

Its projector is ``encoder_projector.norm`` (LayerNorm) and ``encoder_projector.ffn.{0,2}`` (Linear,
with SiLU between): our ``linear-silu``. Frozen parts, ``llm.*`` and ``encoder.*``, may stand beside
it; they are rebuilt from their own sources and skipped here. Works for ``--init_param`` and for
``--psslm_model_file`` alike.

Legend: V units, H language model width.
"""

import logging

from torch import Tensor, nn

from espnet_psslm.bridge.projector import LinearSiLU
from espnet_psslm.common.files import check_file
from espnet_psslm.common.tensors import load_state

PREFIX = "encoder_projector."
SKIPPED = ("llm.", "encoder.")
# Their name -> ours, whether it is transposed, and what decides its shape.
LAYOUT = {
    "norm.weight": ("input.gain", False, "the CTC vocabulary (SenseVoice: token_type sensevoice)"),
    "norm.bias": ("input.shift", False, "the CTC vocabulary (SenseVoice: token_type sensevoice)"),
    "ffn.0.weight": ("input.weight", True, "projector_conf.hidden"),
    "ffn.0.bias": ("input.bias", False, "projector_conf.hidden"),
    "ffn.2.weight": ("output.weight", False, "the language model's width (llm_conf.name)"),
    "ffn.2.bias": ("output.bias", False, "the language model's width (llm_conf.name)"),
}


def accept_published_layout(model: nn.Module) -> None:
    """Let ``model.load_state_dict`` take such a file as it takes our own.

    Call it before the hook that checks names, so that it sees ours.

    Args:
        model: has a ``projector``.

    Raises:
        ValueError: (when loading) if the projector is another, a tensor is missing, unknown or of
            another shape, or the file holds adapters of the language model.
    """
    model.register_load_state_dict_pre_hook(_translate)


def _translate(model: nn.Module, state: dict[str, Tensor], prefix: str, *_unused: object) -> None:
    theirs = {name: state[name] for name in state if name.removeprefix(prefix).startswith(PREFIX)}
    if not theirs:
        return
    projector = model.projector
    if not isinstance(projector, LinearSiLU):
        raise ValueError(
            f"the checkpoint's projector ({PREFIX}*) is linear-silu, the model's is "
            f"{type(projector).__name__}: set projector: linear-silu"
        )
    given = {name.removeprefix(prefix + PREFIX): value for name, value in theirs.items()}
    if given.keys() != LAYOUT.keys():
        raise ValueError(
            f"the checkpoint's projector lacks {sorted(LAYOUT.keys() - given.keys())} and has "
            f"{sorted(given.keys() - LAYOUT.keys())} beside {PREFIX}norm and {PREFIX}ffn"
        )
    own = dict(projector.named_parameters())
    ours = {
        f"{prefix}projector.{target}": _fitting(name, given[name], own[target])
        for name, (target, _, _) in LAYOUT.items()
    }
    skipped = _skipped(state, prefix)
    for name in (*theirs, *skipped):
        del state[name]
    state.update(ours)
    logging.info("published checkpoint: projector read, %d frozen tensors skipped", len(skipped))


def _fitting(name: str, value: Tensor, own: Tensor) -> Tensor:
    """The tensor in our orientation."""
    _, transposed, decided_by = LAYOUT[name]
    needed = tuple(own.T.shape if transposed else own.shape)
    if tuple(value.shape) != needed:
        raise ValueError(
            f"{PREFIX}{name} is {tuple(value.shape)} in the checkpoint and {needed} in the model: "
            f"it follows {decided_by}, as the checkpoint was trained with"
        )
    return value.T if transposed else value


def _skipped(state: dict[str, Tensor], prefix: str) -> list[str]:
    """Names of frozen parts."""
    names = [name for name in state if name.removeprefix(prefix).startswith(SKIPPED)]
    if trained := [name for name in names if "lora_" in name]:
        raise ValueError(
            f"the checkpoint holds adapters of the language model ({trained[0]}, ...), without "
            "which its projector is half of what was trained; to start from the projector all the "
            "same: --init_param FILE:::llm"
        )
    return names


def check_init_file(init_param: str) -> None:
    """Refuse a file of ``--init_param`` that holds more than tensors and plain types.

    ESPnet would run the code of such a file where a variable of the environment, or a person at
    the terminal, says so.

    Args:
        init_param: ``FILE[:SOURCE[:TARGET[:EXCLUDED]]]``.

    Raises:
        ValueError: if there is no such file, or it cannot be read without running code.
    """
    path = init_param.split(":")[0]
    check_file(path, option="--init_param", fix="name one, or leave the option out")
    load_state(path, "meta", option="--init_param")
