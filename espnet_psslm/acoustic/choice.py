"""Which acoustic model a configuration names."""

from collections.abc import Mapping
from typing import Any

WHISPER_CTC = "whisper_ctc"
TRAINED = ("train_config", "model_file", "packed")  # by which Whisper-CTC is named
OLD_KEYS = ("whisper", "sensevoice")  # of ``acoustic_conf``, before there was ``acoustic``


def acoustic_choice(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Find the name in ``acoustic/models.py`` and the options; none where no model is named.

    Args:
        config: of a bridge. Older ones name the model by a key of ``acoustic_conf``:
            ``{sensevoice: iic/SenseVoiceSmall}`` is ``acoustic: sensevoice`` with the option
            ``name``; a key that was emptied on the command line left Whisper-CTC's.
    """
    conf = dict(config.get("acoustic_conf") or {})
    old = {kind: conf.pop(kind) for kind in OLD_KEYS if kind in conf}
    for kind, name in old.items():
        if name:
            return kind, {"name": name} | conf
    if old:
        return WHISPER_CTC, {key: conf[key] for key in TRAINED if key in conf}
    return config.get("acoustic", WHISPER_CTC), conf
