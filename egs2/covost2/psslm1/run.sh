#!/usr/bin/env bash
# CoVoST 2: transcripts and translations, any pair. Set COVOST2= and COMMONVOICE= in db.sh first.
#
#   ./run.sh [--pair en_zh-CN] [--stage 1] [--stop_stage 15] [--ngpu 1] [options]
#   ./run.sh --stage 1 --stop_stage 1 --local_data_opts "--max_train 2000 --max_test 500"
#
# --help lists all options: --pair, and those of ../../TEMPLATE/psslm1/psslm.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

pair=en_de
local_data_opts=
own_help="  --pair SRC_TGT     as in the file's name, e.g. en_zh-CN; data, dump and exp get one each
  --local_data_opts  see local/prepare_covost2.py --help"
own_options="pair local_data_opts"
. ../../../local/own_options.sh

exec ../../TEMPLATE/psslm1/psslm.sh \
    --command_line "$command_line" \
    --title "CoVoST 2 ($pair): transcripts and translations" \
    --pack_notes conf/pack_notes.md --prompt_file conf/prompts.jsonl \
    --lang "${pair%%_*}" --datadir "data/$pair" --dumpdir "dump/$pair" --expdir "exp/$pair" \
    --local_data_opts "--pair $pair $local_data_opts" \
    --ctc_config ../../../conf/train_whisper_ctc.yaml \
    --psslm_config ../../../conf/train_psslm.yaml \
    --sft_config ../../../conf/tune_psslm.yaml \
    --sft_set train --vocab_size 2000 \
    ${options[@]+"${options[@]}"}
