#!/usr/bin/env bash
# Stage 1: recordings, and speech of further sentences, to data folders. Options are those of
# local/prepare_recordings.py (--help lists them).
set -euo pipefail
. ./path.sh

# The mini recipe's voices and noise.
export PYTHONPATH=$PWD/../../mini/psslm1/local:$PYTHONPATH
python local/prepare_recordings.py "$@"
