# shellcheck shell=bash
# Sourced: how training (stages 6, 10, 11) and decoding (7, 8, 12) are started. Empty: here, with their
# output on the screen. A script with run.pl's command line keeps it in a log beside the results:
# "../../../local/run.py" here, "../../../local/slurm.py --partition gpu --mem 32G" on a cluster.
# Anything else stands before the command: "srun --gpus=1". The environment may set both.
export train_cmd=${train_cmd:-}
export decode_cmd=${decode_cmd:-}
