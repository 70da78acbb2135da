"""ESPnet tasks: everything that turns a configuration into models, data and batches."""

from espnet_psslm.device import redirect_cuda

redirect_cuda()  # before any module here imports ESPnet's trainer
