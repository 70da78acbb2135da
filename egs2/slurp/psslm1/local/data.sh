#!/usr/bin/env bash
# Stage 1: SLURP of db.sh to data folders. Options are those of local/prepare_slurp.py, such as
# --microphone headset --max_train 2000 (--help lists them).
set -euo pipefail
. ./path.sh
. ./db.sh
. ../../../local/log.sh

need_corpus SLURP "the folder that holds dataset/slurp and audio"
python local/prepare_slurp.py --corpus "$SLURP" "$@"
