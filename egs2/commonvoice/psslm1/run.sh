#!/usr/bin/env bash
# Common Voice: transcripts, in any of its languages. Set COMMONVOICE= in db.sh first.
#
#   ./run.sh [--lang de] [--stage 1] [--stop_stage 15] [--ngpu 1] [options]
#   ./run.sh --stage 1 --stop_stage 1 --local_data_opts "--train_split validated --max_train 2000"
#   ./run.sh --lang zh-CN --unit_type char     # scored in characters
#
# --help lists all options: --lang, and those of ../../TEMPLATE/psslm1/psslm.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

lang=en
local_data_opts=
own_help="  --lang CODE        folder of the language in the release; data, dump and exp get one each
  --local_data_opts  see local/prepare_commonvoice.py --help"
own_options="lang local_data_opts"
. ../../../local/own_options.sh

exec ../../TEMPLATE/psslm1/psslm.sh \
    --command_line "$command_line" \
    --title "Common Voice ($lang): transcripts" \
    --pack_notes conf/pack_notes.md \
    --lang "$lang" --datadir "data/$lang" --dumpdir "dump/$lang" --expdir "exp/$lang" \
    --local_data_opts "--lang $lang $local_data_opts" \
    --ctc_config ../../../conf/train_whisper_ctc.yaml \
    --psslm_config ../../../conf/train_psslm.yaml \
    --sft_config ../../../conf/tune_psslm.yaml \
    --sft_set train --vocab_size 2000 \
    ${options[@]+"${options[@]}"}
