"""ESPnet tasks: how models are trained, and what may go wrong."""

from espnet_psslm.device import prepare_training

prepare_training()  # before any module here imports ESPnet's trainer
