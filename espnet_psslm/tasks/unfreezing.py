"""Training that tells the encoder which epoch it is, for ``encoder_conf: unfreeze``."""

from typing import Any

from espnet2.train.reporter import SubReporter
from espnet2.train.trainer import Trainer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from espnet_psslm.acoustic.whisper import HFSpeechEncoder


class UnfreezingTrainer(Trainer):
    """ESPnet's trainer, which never tells a model the epoch, and this one line more.

    The state depends on the epoch alone, so a resumed training goes on as one that never stopped.
    """

    @classmethod
    def train_one_epoch(cls, *, model: nn.Module, reporter: SubReporter, **rest: Any) -> bool:
        tell_epoch(model, reporter.get_epoch())
        return super().train_one_epoch(model=model, reporter=reporter, **rest)


def tell_epoch(model: nn.Module, epoch: int) -> None:
    """Tell every Whisper encoder inside ``model`` the epoch, from 1.

    Raises:
        ValueError: if the model is distributed in a way that waits for every gradient.
    """
    if isinstance(model, DistributedDataParallel) and not model.find_unused_parameters:
        raise ValueError("unfreeze on several devices needs --unused_parameters true")
    for module in model.modules():
        if isinstance(module, HFSpeechEncoder):
            module.set_epoch(epoch)
