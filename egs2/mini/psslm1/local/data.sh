#!/usr/bin/env bash
# Stage 1: sentences from the grammar, speech from synthesisers, data folders below data/.
# Options are those of local/prepare_data.py, such as --nj 2 --seed 1 --num_train 1600 --voices espeak
# --num_text 6000 --real_train FILE --real_data FILE (--help lists them).
set -euo pipefail

. ./path.sh

python local/prepare_data.py "$@"
