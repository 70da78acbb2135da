"""ESPnet tasks: what is trained, and with which options."""

from espnet_psslm.device import prepare_training

prepare_training()  # before any module here imports ESPnet's trainer
