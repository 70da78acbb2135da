#!/usr/bin/env bash
# Stage 1: SLURP of db.sh to data folders. Options are those of local/prepare_slurp.py, such as
# --microphone headset --max_train 2000; with --synthesize N those of local/prepare_spoken.py, which
# needs none of SLURP's audio (--help lists them).
set -euo pipefail
. ./path.sh
. ./db.sh
. ../../../local/log.sh

case " $* " in
    *" --synthesize "*)
        need_corpus SLURP "the folder that holds dataset/slurp"
        # How the recipe for recordings reads them and finds voices.
        export PYTHONPATH=$PWD/../../recordings/psslm1/local:$PYTHONPATH
        python local/prepare_spoken.py --corpus "$SLURP" "$@"
        ;;
    *)
        need_corpus SLURP "the folder that holds dataset/slurp and audio"
        python local/prepare_slurp.py --corpus "$SLURP" "$@"
        ;;
esac
