#!/usr/bin/env bash
# Whisper-CTC fine-tuned on recordings of your own, minutes of them, on two CPU cores. What they lack in
# words comes from sentences of yours, spoken by synthetic voices in simulated rooms. Stages 1 to 7; sets
# up its environment.
#
#   ./egs2/recordings/psslm1/run.sh --train "SOURCE ..." --dev "SOURCE ..." --test "NAME=SOURCE ..." \
#       [--sentences "FILE ..."] [--voices "NAME ..."] [options]
#
# A SOURCE is a data folder (wav.scp, text) or JSON Lines (SLURP's release format, or a manifest). With
# --sentences, --train may be left out: training is then on spoken sentences alone. One whose name has
# blanks stands in quotes of its own: --train "'my recordings' more.jsonl".
# --help lists all options: those below, and those of ../../TEMPLATE/psslm1/psslm.sh.
set -euo pipefail
started_in=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

train=
dev=
test=
sentences=
not_spoken=
voices=
allow_pipes=false
local_data_opts=
own_help="  --train \"SOURCE ...\"      recordings to train on; none without, but then --sentences
  --dev \"SOURCE ...\"        recordings that choose the checkpoint
  --test \"NAME=SOURCE ...\"  test sets, test_NAME each
  --sentences \"FILE ...\"    a sentence a line: what is spoken in addition; none without
  --not_spoken \"SOURCE ...\" recordings whose sentences are not spoken, as those of dev and test
  --voices \"NAME ...\"       synthesisers that speak, of espeak, hibari and kokoro (all three); espeak
                            alone needs no package of neural voices
  --allow_pipes BOOL        true: sources in a wav.scp that end in | are commands; they are run (false)
  --local_data_opts         see local/data.sh --help"
own_options="train dev test sentences not_spoken voices allow_pipes local_data_opts"
. ../../../local/own_options.sh
. ../../../local/words.sh

data_opts="--base $(quoted "$started_in") --allow_pipes $allow_pipes"
for name in train dev test sentences not_spoken voices; do
    if [ -n "${!name}" ]; then data_opts+=" --$name ${!name}"; fi
done
test_sets=
split "$test"
for pair in ${words[@]+"${words[@]}"}; do test_sets+=" test_${pair%%=*}"; done

exec ../../TEMPLATE/psslm1/psslm.sh \
    --command_line "$command_line" \
    --title "Whisper-CTC on real recordings" \
    --test_sets "${test_sets# }" --sft false --stop_stage 7 \
    --local_data_opts "$data_opts $local_data_opts" --allow_pipes "$allow_pipes" \
    --vocab_size 1000 --unit_type unigram \
    ${options[@]+"${options[@]}"}
