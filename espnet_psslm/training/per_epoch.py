"""What each epoch of the bridge begins with: its draws, its simulated speech, its progress."""

import argparse

from espnet2.iterators.abs_iter_factory import AbsIterFactory
from torch.utils.data import DataLoader

from espnet_psslm.data.preprocessor import PSSLMPreprocessor
from espnet_psslm.progress import track


class PerEpoch(AbsIterFactory):
    """Tells the preprocessor which epoch it draws for; shows how far training is."""

    def __init__(
        self, factory: AbsIterFactory, preprocessor: PSSLMPreprocessor, args: argparse.Namespace
    ) -> None:
        self.factory = factory
        self.preprocessor = preprocessor
        self.args = args

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> object:
        """ESPnet's batches of an epoch."""
        self.preprocessor.begin_epoch(epoch if self.preprocessor.train else 0)
        batches = self.factory.build_iter(epoch, shuffle)
        if not self.preprocessor.train:
            return batches
        if self.preprocessor.writes_ahead:
            self._write_ahead(batches)
        per_epoch = self.args.num_iters_per_epoch
        if per_epoch is None:
            return batches
        left = per_epoch * (self.args.max_epoch - epoch + 1)
        return track(batches, left, f"training from epoch {epoch} on", units="batches")

    def _write_ahead(self, batches: DataLoader) -> None:
        """Simulate the speech of an epoch at once. A stream does so batch by batch by itself."""
        if (sampler := batches.batch_sampler) is not None:
            rows = self.factory.dataset.loader_dict["sample"]
            self.preprocessor.write_ahead([rows[key] for batch in sampler for key in batch])
