#!/usr/bin/env bash
# Stage 1: recordings, and speech of further sentences, to data folders. Options are those of
# local/prepare_recordings.py (--help lists them).
set -euo pipefail
. ./path.sh

python local/prepare_recordings.py "$@"
