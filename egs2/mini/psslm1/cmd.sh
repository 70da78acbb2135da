# shellcheck shell=bash
# Sourced: what stands before the commands of training (stages 6, 11) and decoding (7, 8, 12).
# Empty: they run here. On a cluster, for example: train_cmd="srun --gpus=1 --cpus-per-task=8"
export train_cmd=
export decode_cmd=
