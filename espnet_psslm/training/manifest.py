"""A manifest as ESPnet's training data: data type ``psslm_jsonl``, one sample a row."""

from espnet2.train.dataset import DATA_TYPES

from espnet_psslm.data.manifest import read_manifest

DATA_TYPES["psslm_jsonl"] = {
    "func": read_manifest,
    "kwargs": [],
    "help": "JSON Lines manifest: key, task, target, and path, steps or GT",
}


class OfManifest:
    """Mixin of an ESPnet task whose samples are rows of a manifest, which holds everything."""

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """The row."""
        return ("sample",)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """None."""
        return ()
