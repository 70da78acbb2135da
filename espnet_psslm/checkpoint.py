"""Checkpoints that hold what was trained, and loading that never drops a weight in silence.

Frozen pretrained weights (Whisper's encoder, a language model) are rebuilt from their own
source, so a checkpoint need not carry them. ESPnet saves ``model.state_dict()``, resumes with
``strict=True``, averages checkpoints key by key, and decodes with ``strict=False``, which would
accept any file. Two hooks on the module serve all four.

It also saves with ``torch.save(state, path)``: a training that is stopped meanwhile leaves half a
checkpoint under the name that resumption reads. :func:`atomic_saves` makes that all or nothing.
"""

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from espnet_psslm.atomic import atomic_file
from espnet_psslm.common.replaced import replaced
from espnet_psslm.common.tensors import load_state, load_tensors

# Where ESPnet reads checkpoints. Its own reader offers to run what is in a file.
ESPNETS_READERS = {
    "espnet2.tasks.abs_task": load_state,
    "espnet2.train.trainer": load_tensors,  # weights among other things
    "espnet2.main_funcs.average_nbest_models": load_state,
    "espnet2.torch_utils.load_pretrained_model": load_state,
}


class Misfit(ValueError):
    """Weights that are not the model's; its message goes on behind the name of the file."""


@contextmanager
def atomic_saves() -> Iterator[None]:
    """Within it, ``torch.save`` to a path writes the whole file, and then names it."""
    plain = torch.save

    def save(state: Any, file: Any, *args: Any, **options: Any) -> None:
        if not isinstance(file, str | os.PathLike):
            plain(state, file, *args, **options)
            return
        with atomic_file(file) as stream:
            noting = _NotingErrors(stream)
            try:
                plain(state, noting, *args, **options)
            except RuntimeError as error:
                if noting.error is None:
                    raise
                raise noting.error from error  # torch says that, and not why

    torch.save = save
    try:
        yield
    finally:
        torch.save = plain


class _NotingErrors:
    """A binary stream that remembers why it could not write."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.stream.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.stream.flush()


@contextmanager
def safe_loads() -> Iterator[None]:
    """Within it ESPnet reads checkpoints as we do; one that does not fit its model is named.

    Raises:
        ValueError: in place of :class:`Misfit`.
    """
    read: list[str] = []

    def reader(load: Callable[..., Any]) -> Callable[..., Any]:
        def read_and_note(path: str | Path, *args: Any, **options: Any) -> Any:
            read.append(str(path))
            return load(path, *args, **options)

        return read_and_note

    with ExitStack() as stack:
        for name, load in ESPNETS_READERS.items():
            module = importlib.import_module(name)
            stack.enter_context(replaced(module, "safe_torch_load", reader(load)))
        try:
            yield
        except Misfit as error:
            raise ValueError(f"checkpoint {read[-1]} {error}") from error


def drop_frozen_from_state_dict(module: nn.Module) -> None:
    """Leave the weights that are frozen now out of ``module``'s state dict, for good.

    Call it once, after freezing. What is frozen later (ESPnet's ``--freeze_param``) still goes
    into checkpoints, because nothing else could restore it. Loading becomes strict in any case:
    see :func:`check_on_load`. A file that does hold the frozen weights is loaded with them.

    Args:
        module: holds frozen (``requires_grad=False``) and trained parameters.
    """
    frozen = frozenset(_frozen_names(module))

    def drop(
        _module: nn.Module, state: dict[str, Tensor], prefix: str, _metadata: dict
    ) -> dict[str, Tensor]:
        for name in frozen:
            state.pop(prefix + name, None)
        return state

    module._register_state_dict_hook(drop)
    check_on_load(module, optional=frozen)


def check_on_load(module: nn.Module, *, optional: frozenset[str] = frozenset()) -> None:
    """Make every ``load_state_dict`` that reaches ``module`` exact, whatever ``strict`` says.

    Args:
        module: what is loaded into; it may be part of a larger model.
        optional: names in ``module`` that keep their present values where the file lacks them.

    Raises:
        Misfit: (when loading) if a key is unknown, is missing, or has another shape.
    """

    def check(module: nn.Module, state: dict[str, Tensor], prefix: str, *_unused: object) -> None:
        own = dict(_named_state(module))
        given = {key.removeprefix(prefix): key for key in state if key.startswith(prefix)}
        for name in optional:
            if name not in given and name in own:
                state[prefix + name] = own[name].detach()
                given[name] = prefix + name
        skipped = _names_left_to_children(module)
        _raise_on_difference(
            type(module).__name__,
            missing=[n for n in own if n not in given and n not in skipped],
            unexpected=[n for n in given if n not in own],
            reshaped=[
                f"{n} {tuple(state[key].shape)} in the file, {tuple(own[n].shape)} in the model"
                for n, key in given.items()
                if n in own and state[key].shape != own[n].shape
            ],
        )

    module._frozen_names = optional
    module.register_load_state_dict_pre_hook(check)


def _raise_on_difference(
    owner: str, *, missing: list[str], unexpected: list[str], reshaped: list[str]
) -> None:
    problems = [
        f"{len(names)} {what} ({', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (
            ("of other shape", reshaped),
            ("missing", missing),
            ("unexpected", unexpected),
        )
        if names
    ]
    if problems:
        raise Misfit(
            f"does not fit {owner}: weights {'; '.join(problems)}. "
            "Use the config.yaml and the token list that the checkpoint was trained with"
        )


def _names_left_to_children(module: nn.Module) -> set[str]:
    """Names that a submodule's own hook may leave out of the file."""
    return {
        f"{path}.{name}"
        for path, child in module.named_modules()
        if path
        for name in getattr(child, "_frozen_names", ())
    }


def _frozen_names(module: nn.Module) -> Iterator[str]:
    for path, child in module.named_modules(remove_duplicate=False):
        own = list(child.named_parameters(recurse=False, remove_duplicate=False))
        if not own or any(parameter.requires_grad for _, parameter in own):
            yield from (_join(path, name) for name, p in own if not p.requires_grad)
            continue
        yield from (_join(path, name) for name, _ in own)
        # Statistics of a frozen layer (batch normalisation) are as frozen as its weights.
        yield from (_join(path, name) for name, _ in _persistent_buffers(child))


def _named_state(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, child in module.named_modules(remove_duplicate=False):
        for name, parameter in child.named_parameters(recurse=False, remove_duplicate=False):
            yield _join(path, name), parameter
        for name, buffer in _persistent_buffers(child):
            yield _join(path, name), buffer


def _persistent_buffers(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
        if name not in module._non_persistent_buffers_set:
            yield name, buffer


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
