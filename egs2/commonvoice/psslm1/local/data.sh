#!/usr/bin/env bash
# Stage 1: a language of Common Voice to data folders. Options are those of
# local/prepare_commonvoice.py, such as --lang de --max_train 2000 (--help lists them).
set -euo pipefail
. ./path.sh
. ./db.sh
. ../../../local/log.sh

need_corpus COMMONVOICE "the folder of a release, which holds a folder a language"
python local/prepare_commonvoice.py --corpus "$COMMONVOICE" "$@"
