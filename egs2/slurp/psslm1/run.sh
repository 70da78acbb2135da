#!/usr/bin/env bash
# SLURP: transcripts, scenarios, actions and entities of spoken commands. Set SLURP= in db.sh first.
#
#   ./run.sh [--stage 1] [--stop_stage 15] [--ngpu 1] [options]
#   ./run.sh --stage 1 --stop_stage 1 --local_data_opts "--microphone headset --max_train 2000"
#
# --help lists all options: those of ../../TEMPLATE/psslm1/psslm.sh.
set -euo pipefail
command_line="egs2/slurp/psslm1/run.sh $*"
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../TEMPLATE/psslm1/psslm.sh \
    --command_line "$command_line" \
    --title "SLURP: transcripts, scenarios, actions and entities of spoken commands" \
    --pack_notes conf/pack_notes.md \
    --ctc_config ../../../conf/train_whisper_ctc.yaml \
    --psslm_config ../../../conf/train_psslm.yaml \
    --sft_config ../../../conf/tune_psslm.yaml \
    --sft_set train --vocab_size 1000 \
    "$@"
