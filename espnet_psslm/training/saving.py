"""What ESPnet writes beside checkpoints: whole or not at all."""

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import espnet2.tasks.abs_task as espnets

from espnet_psslm.atomic import atomic_text, unfinished_name
from espnet_psslm.common.replaced import replaced


class _AtomicPath(type(Path())):
    """A path under which a text file is whole or not there."""

    def open(self, mode: str = "r", *args: Any, **options: Any) -> AbstractContextManager[IO[str]]:
        return _written_at_the_end(self) if mode == "w" else super().open(mode, *args, **options)


@contextmanager
def _written_at_the_end(path: Path) -> Iterator[IO[str]]:
    text = io.StringIO()
    yield text
    atomic_text(path, text.getvalue())


@contextmanager
def atomic_outputs() -> Iterator[None]:
    """Within it, a task's ``config.yaml`` and what ``--collect_stats`` measures are atomic."""
    collect = _beside(espnets.collect_stats)
    with ExitStack() as stack:
        stack.enter_context(replaced(espnets, "Path", _AtomicPath))
        stack.enter_context(replaced(espnets, "collect_stats", collect))
        yield


def _beside(plain: Callable[..., None]) -> Callable[..., None]:
    """ESPnet's function, which writes beside its place until it has measured everything."""

    def collect(*, output_dir: Path, write_collected_feats: bool, **options: Any) -> None:
        options |= {"write_collected_feats": write_collected_feats}
        if write_collected_feats:  # whose tables name the folder that they are written to
            plain(output_dir=Path(output_dir), **options)
            return
        unfinished = unfinished_name(Path(output_dir) / "stats")
        try:
            plain(output_dir=unfinished, **options)
            # Stage 11 asks for the shapes of the training data: they come last.
            for path in sorted(unfinished.glob("*/*"), key=_is_asked_for):
                target = Path(output_dir) / path.relative_to(unfinished)
                target.parent.mkdir(exist_ok=True)
                path.replace(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    return collect


def _is_asked_for(path: Path) -> tuple[bool, str]:
    return path.parent.name == "train" and path.name.endswith("_shape"), str(path)
