#!/usr/bin/env bash
# Stage 1: a language pair of CoVoST 2 to data folders. Options are those of
# local/prepare_covost2.py, such as --pair en_zh-CN --max_train 2000 (--help lists them).
set -euo pipefail
. ./path.sh
. ./db.sh
. ../../../local/log.sh

need_corpus COVOST2 "the folder that holds covost_v2.en_de.tsv"
need_corpus COMMONVOICE "the folder of a Common Voice release, which holds a folder a language"
python local/prepare_covost2.py --corpus "$COVOST2" --commonvoice "$COMMONVOICE" "$@"
