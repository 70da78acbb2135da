#!/usr/bin/env bash
# All stages of a phone-synchronous speech language model, for any corpus. Called by a recipe's run.sh
# from the recipe's folder, which brings path.sh, cmd.sh, conf/ and local/data.sh.
set -euo pipefail

main_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
. "$main_root/local/children.sh"

# General
stage=1            # first stage to run
stop_stage=15      # last stage to run
skip_data_prep=false  # true: stages 1 to 5 are left out
skip_train=false   # true: stages 6 and 8 to 11 are left out
skip_eval=false    # true: stages 7, 12 and 13 are left out
skip_packing=false  # true: stages 14 and 15 are left out
nj=2               # processes for data preparation
inference_nj=1     # jobs of decoding and dumping (7, 8, 12), each with a model of its own
ngpu=0             # GPUs for training; several: through espnet2.bin.launch
num_nodes=1        # machines for training; several: cmd.sh must name local/slurm.py
device=auto        # for decoding: auto | cpu | cuda[:n] | npu[:n]
gpu_inference=auto  # true: decoding asks its command for a GPU or NPU; false: on CPUs; auto: as --device says
seed=0             # of training and of the bootstrap intervals
resume=false       # true: go on where an interrupted training stopped; false: train anew
python=            # interpreter to use; empty: local/setup_env.sh makes an environment
datadir=data       # what local/data.sh makes
dumpdir=dump       # formatted audio and steps
expdir=exp         # models, hypotheses, results

# Data
train_set=train
valid_set=dev
test_sets="test"   # several, separated by blanks
plain_test_sets=   # further ones, on which only the bridge before fine-tuning is decoded, from audio
text_test_sets=    # sets without audio; heard are noise-free simulations of their transcripts
text_set=train_text  # sentences for text-only training
local_data_opts=   # further options of local/data.sh
lang=en            # of the speech, e.g. zh-CN: how transcripts are normalised for error rates
speed_perturb_factors=  # e.g. "0.9 1.0 1.1": train on ${train_set}_sp, all of these; empty: none
fs=16000           # sampling rate, Hz
allow_pipes=false  # true: stages 2 and 3 run the sources in wav.scp that are commands (end in |)
min_duration_s=0.1
max_duration_s=30
max_dropped=0.01   # share of unusable utterances that stops stage 4

# Units and acoustic model
vocab_size=500     # CTC units, blank and special units included
unit_type=unigram  # unigram | bpe | llm | given | qwen-2.5 | gemma | hf | char | phn | list, see train_units
unit_source=       # llm: language model of llm_conf; given: SentencePiece model; hf: tokenizer; list: file
unit_restrict=false  # true: keep the Hugging Face tokens that occur in the training text
phone_language=    # with --unit_type phn: espeak-ng's name, e.g. en-us, de, cmn
ctc_config=conf/train_ctc.yaml
ctc_args=          # further options of asr_train
ctc_exp=           # empty: $expdir/ctc; with --skip_ctc true, where the finished model is
skip_ctc=false     # true: stages 5 and 6 are left out
sensevoice=        # folder of a SenseVoiceSmall, the acoustic model in place of a Whisper-CTC one
whisper=           # weights of a Whisper encoder without CTC, likewise; with --train_on audio
unit_dir=          # empty: $datadir/token_list/${unit_type}_$vocab_size
inference_ctc_model=valid.loss.ave.pth
inference_ctc_args=  # further options of asr_inference, e.g. --search phone_sync_beam
dump_args=         # further options of dump_steps

# Learned simulator
harder="0.2 0.4 0.7"  # it learns from $train_set made harder by these strengths in (0, 1], see dump_steps
simulator_config=  # empty: conf/train_simulator.yaml of the checkout
simulator_args=    # further options of simulator_train

# Bridge
psslm_tag=         # the bridge and its results go to $expdir/TAG; empty: to $expdir
pretrained_model=  # checkpoint that text-only training starts from
psslm_config=conf/train_psslm.yaml
psslm_args=        # further options of psslm_train, both systems
text_args=         # further options of psslm_train when training from text
train_on=text      # text | steps | audio: of $text_set, or of $train_set, which is dumped or heard
sft=true           # true: fine-tune on audio after text-only training
sft_config=conf/tune_psslm.yaml
sft_args=          # further options of psslm_train when fine-tuning
sft_set=train_sft  # audio utterances to fine-tune on
reduction=         # merge_then_drop | drop_then_merge | frame_sync | fixed_rate; empty: as the settings say
blank_threshold=   # steps at or above this blank probability are dropped; empty: as the settings say
max_units=         # units kept per step; empty: as the settings say
prompt_file=       # empty: conf/multiprompt.jsonl of the checkout
simulator=         # measured | learned | tasu: what text might sound like; measured and learned are made in
                   # stage 9. Empty: as $psslm_config says
inference_psslm_model=valid.acc.ave.pth
inference_config=  # YAML with options of psslm_inference
batch_size=        # utterances decoded at once; empty: 16, or what --inference_config says
beam_size=         # empty: 4, or what --inference_config says
inference_args=    # further options of psslm_inference
download_model=    # a packed model, file or hub name, to decode and score in place of a trained one
oracle_task=ASR    # task decoded from the noise-free simulation of the true transcript; empty: none

# Results
forgetting_args=   # e.g. "--metric EN2DE=cer": another metric in the table of forgetting than the task's own
outside_share=0    # share of development speech that may be called outside of what the packed model knows,
                   # e.g. 0.02; for models of a small domain. 0: no such check, everything is answered
title="Speech language model"
pack_replay=false  # carry up to 1 MB of the training text in the archive: espnet-psslm adapt needs it to forget
                   # nothing, and whoever has the archive can read it
pack_notes=        # Markdown with licences and data, for the card of the archive
command_line="$0 $*"  # kept in RESULTS.md
hf_repo=           # hub repository for stage 15, e.g. name/model; empty: no upload

help_message="Usage: ${0##*/} [options]

Stages: 1 data, 2 speed perturbation, 3 format audio, 4 filter, 5 units, 6 train CTC, 7 decode CTC,
8 dump steps, 9 simulation, 10 bridge statistics, 11 train bridge, 12 decode, 13 score,
14 pack, 15 upload. Options and their defaults (relative paths count from the recipe's folder):

$(sed -n '/^# General/,/^help_message=/{/^help_message=/d;s/^\([a-z]\)/  --\1/;p}' "${BASH_SOURCE[0]}")"

. "$main_root/local/parse_options.sh"
. "$main_root/local/log.sh"
[ $# -eq 0 ] || die "unexpected argument: $1 (--help lists the options)"

ctc_exp=${ctc_exp:-$expdir/ctc}
unit_dir=${unit_dir:-$datadir/token_list/${unit_type}_$vocab_size}
prompt_file=${prompt_file:-../../../conf/multiprompt.jsonl}
simulator_config=${simulator_config:-../../../conf/train_simulator.yaml}
if [ -z "$simulator" ] && [ -e "$psslm_config" ]; then
    simulator=$(sed -n 's/^simulator: *\([a-z]*\).*/\1/p' "$psslm_config")
fi
simulator=${simulator:-tasu} # psslm_train's own
case $simulator in
    measured | learned | tasu) ;;
    *) die "--simulator $simulator is unknown: use measured, learned or tasu" ;;
esac
case $unit_type in
    unigram | bpe | llm | given) unit_opts=(--token_type bpe --bpemodel "$unit_dir/bpe.model") ;;
    qwen-2.5 | gemma | hf) unit_opts=(--token_type hf --bpemodel "$unit_dir/tokenizer.json") ;;
    phn) unit_opts=(--token_type phn --phone_language "$phone_language") ;;
    char | list) unit_opts=(--token_type "$unit_type") ;;
    *) die "--unit_type $unit_type is unknown (--help lists the options)" ;;
esac
unit_opts+=(--token_list "$unit_dir/tokens.txt")
gpu_opts=()
case $gpu_inference in
    auto) ;;
    true) gpu_opts=(--gpu 1) ;; # of which kind, --device says
    false) device=cpu ;;
    *) die "--gpu_inference $gpu_inference: use auto, true or false" ;;
esac
if [ -n "$download_model" ]; then
    # Its two models are linked to where stages 6 and 11 would have put them.
    skip_train=true sft=false
    psslm_tag=${psslm_tag:-$(basename "$download_model" .zip)}
    ctc_exp=$expdir/$psslm_tag/ctc
    prompt_file=$expdir/$psslm_tag/psslm_text/prompts.jsonl
fi
system=$expdir${psslm_tag:+/$psslm_tag}
ctc_model=$ctc_exp/$inference_ctc_model
ctc_alone=true ctc_stage=(6)
asr_opts=(--asr_train_config "$ctc_exp/config.yaml" --asr_model_file "$ctc_model")
acoustic_opts=(--acoustic whisper_ctc --acoustic_conf "train_config=$ctc_exp/config.yaml"
    --acoustic_conf "model_file=$ctc_model")
if [ -n "$sensevoice" ]; then # brings its own units; it is not trained, nor decoded alone
    skip_ctc=true
    ctc_alone=false ctc_stage=()
    ctc_model=$sensevoice/model.pt
    asr_opts=(--sensevoice "$sensevoice")
    acoustic_opts=(--acoustic sensevoice --acoustic_conf "name=$sensevoice")
    unit_opts=(--token_type sensevoice --bpemodel "$sensevoice/chn_jpn_yue_eng_ko_spectok.bpe.model")
elif [ -n "$whisper" ]; then # no units, no posterior: nothing to simulate
    [ "$train_on" = audio ] || die "--whisper $whisper has no CTC posterior: set --train_on audio"
    skip_ctc=true simulator=tasu oracle_task=
    ctc_alone=false ctc_model=
    acoustic_opts=(--acoustic whisper --acoustic_conf "name=$whisper")
    unit_opts=()
fi
# In place of what the bridge's settings say: for dumping, and for training, which keeps it for decoding.
reduction_opts=()
if [ -n "$reduction" ]; then reduction_opts+=(--reduction "$reduction"); fi
if [ -n "$blank_threshold" ]; then reduction_opts+=(--reduction_conf "blank_threshold=$blank_threshold"); fi
if [ -n "$max_units" ]; then reduction_opts+=(--reduction_conf "max_units=$max_units"); fi
plain_set=$train_set
if [ -n "$speed_perturb_factors" ]; then train_set=${train_set}_sp; fi
raw=$dumpdir/raw
steps=$dumpdir/steps
text_exp=$system/psslm_text
sft_exp=$system/psslm_sft
simulation_file=$expdir/simulation.yaml
simulator_exp=$expdir/simulator
simulator_model=$simulator_exp/valid.loss.ave.pth
read -r -a test_set_list <<<"$test_sets"
read -r -a plain_test_list <<<"$plain_test_sets"
spoken_test_list=("${test_set_list[@]}" ${plain_test_list[@]+"${plain_test_list[@]}"})
read -r -a text_test_list <<<"$text_test_sets"
all_sets=("$train_set" "$valid_set" "${spoken_test_list[@]}")
made_sets=("$plain_set" "$valid_set" "${spoken_test_list[@]}")
# The set to fine-tune on may be the training set: that is formatted already.
if [ "$sft" = true ] && [ "$sft_set" != "$train_set" ]; then all_sets+=("$sft_set"); fi
if [ "$sft" = true ] && [ "$sft_set" != "$plain_set" ]; then made_sets+=("$sft_set"); fi
packed_exp=$([ "$sft" = true ] && echo "$sft_exp" || echo "$text_exp")

# shellcheck source=egs2/mini/psslm1/path.sh
. ./path.sh
# shellcheck source=egs2/mini/psslm1/cmd.sh
. ./cmd.sh

# hold FD FOLDER: no other run works there as long as this one does, or a program that it has started.
hold() {
    mkdir -p "$2"
    eval "exec $1<>\"\$2/.psslm.lock\""
    "$python" "$main_root/local/lock_folder.py" --folder "$2" --pid $$ \
        --command "$command_line" <&"$1" || exit 1
}

hold 8 "$system"
if [ "$stage" -le 9 ]; then # they make what all bridges share
    hold 7 "$datadir"
    hold 6 "$dumpdir"
    hold 5 "$expdir"
fi

stage_log=$main_root/local/stage_log.py
# The commands since stage 1, for RESULTS.md.
if [ "$stage" -le 1 ]; then : >"$system/commands.txt"; fi
echo "$command_line" >>"$system/commands.txt"

# skipped NUMBER: whether one of the --skip options leaves the stage out.
skipped() {
    case $1 in
        1 | 2 | 3 | 4 | 5) [ "$skip_data_prep" = true ] ;;
        6 | 8 | 9 | 10 | 11) [ "$skip_train" = true ] ;;
        7 | 12 | 13) [ "$skip_eval" = true ] ;;
        *) [ "$skip_packing" = true ] ;;
    esac
}

need_acoustic() {
    [ -n "$whisper" ] || need "$ctc_model" ${ctc_stage[@]+"${ctc_stage[@]}"}
}

# begin NUMBER NAME DESCRIPTION: false, if the stage is not asked for.
begin() {
    [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ] && ! skipped "$1" || return 1
    stage_name=stage$1_$2
    log "Stage $1: $3"
    started=$(date +%s)
}

finish() {
    local seconds
    seconds=$("$python" "$stage_log" note --log "$system/seconds.json" --stage "$stage_name" --since "$started")
    log "$stage_name took $seconds s"
}

# more TEXT ...: what the next run gets behind its command: options of several words.
more() {
    local text
    further=()
    for text in "$@"; do further+=(--more "$text"); done
}

# run COMMAND: keeps the peak memory.
run() {
    "$python" "$stage_log" run --log "$system/peak_rss_mb.json" --stage "$stage_name" \
        ${further[@]+"${further[@]}"} -- "$@"
    further=()
}

# train GPUS NODES LOG COMMAND, and decode COMMAND: as cmd.sh says, see local/start.py.
train() {
    run "$python" "$main_root/local/start.py" train --cmd "${train_cmd:-}" \
        --ngpu "$1" --num_nodes "$2" --log "$3" -- "${@:4}"
}

decode() {
    run "$python" "$main_root/local/start.py" decode --cmd "${decode_cmd:-}" \
        --nj "$inference_nj" ${gpu_opts[@]+"${gpu_opts[@]}"} -- "$@"
}

if [ -n "$download_model" ] && [ "$stop_stage" -ge 7 ]; then
    log "models: $download_model -> $text_exp, $ctc_exp"
    "$python" -m espnet_psslm.bin.unpack --model "$download_model" \
        --psslm_exp "$text_exp" --psslm_name "$inference_psslm_model" \
        --ctc_exp "$ctc_exp" --ctc_name "$inference_ctc_model"
fi

if begin 1 data "data preparation: local/data.sh -> $datadir/{${made_sets[*]},$text_set}"; then
    more "$local_data_opts"
    run local/data.sh --datadir "$datadir" --nj "$nj"
    finish
fi

if [ -n "$speed_perturb_factors" ] && begin 2 speed_perturbation "speed perturbation: $datadir/$plain_set -> $datadir/$train_set, factors $speed_perturb_factors"; then
    need "$datadir/$plain_set/wav.scp" 1
    more "$speed_perturb_factors"
    run "$python" -m espnet_psslm.bin.perturb_speed --data_dir "$datadir/$plain_set" \
        --output_dir "$datadir/$train_set" --fs "$fs" --nj "$nj" --allow_pipes "$allow_pipes" --factors
    finish
fi

if begin 3 format "format audio: $datadir/{${all_sets[*]}} -> $raw, $fs Hz"; then
    for name in "${all_sets[@]}"; do
        need "$datadir/$name/wav.scp" "$([ "$name" = "${plain_set}_sp" ] && echo 2 || echo 1)"
        run "$python" -m espnet_psslm.bin.format_wav --data_dir "$datadir/$name" \
            --output_dir "$raw/$name" --fs "$fs" --nj "$nj" --allow_pipes "$allow_pipes"
    done
    for name in ${text_test_list[@]+"${text_test_list[@]}"}; do
        need "$datadir/$name/psslm.jsonl" 1
        mkdir -p "$raw/$name"
        copy "$datadir/$name/psslm.jsonl" "$raw/$name/psslm.jsonl"
    done
    finish
fi

if begin 4 filter "drop utterances that are too long, too short or invalid: $raw/{${all_sets[*]}}"; then
    for name in "${all_sets[@]}"; do
        need "$raw/$name/wav.scp" 3
        run "$python" -m espnet_psslm.bin.filter_data --data_dir "$raw/$name" \
            --min_duration_s "$min_duration_s" --max_duration_s "$max_duration_s" \
            --max_dropped "$max_dropped"
    done
    finish
fi

if [ "$skip_ctc" = true ]; then
    log "stages 5 and 6 are left out: the acoustic model is ${whisper:-$(dirname "$ctc_model")}"
fi

if [ "$skip_ctc" = false ] && begin 5 units "CTC units: $raw/$train_set, $datadir/$text_set -> $unit_dir"; then
    need "$raw/$train_set/text" 4
    need "$datadir/$text_set/text" 1
    run "$python" -m espnet_psslm.bin.train_units --kaldi_text true \
        --text "$raw/$train_set/text" "$datadir/$text_set/text" \
        --vocab_size "$vocab_size" --model_type "$unit_type" --source "$unit_source" \
        --restrict "$unit_restrict" --phone_language "$phone_language" --output_dir "$unit_dir"
    finish
fi

if [ "$skip_ctc" = false ] && begin 6 train_ctc "train Whisper-CTC: $raw/{$train_set,$valid_set} -> $ctc_exp"; then
    need "$unit_dir/tokens.txt" 5
    need "$ctc_config"
    for name in "$train_set" "$valid_set"; do need "$raw/$name/speech_shape" 4; done
    more "$ctc_args"
    train "$ngpu" "$num_nodes" "$ctc_exp/train.log" \
        "$python" -m espnet_psslm.bin.asr_train --config "$ctc_config" \
        --output_dir "$ctc_exp" --seed "$seed" --resume "$resume" \
        "${unit_opts[@]}" \
        --train_data_path_and_name_and_type "$raw/$train_set/wav.scp,speech,psslm_audio" \
        --train_data_path_and_name_and_type "$raw/$train_set/text,text,text" \
        --train_shape_file "$raw/$train_set/speech_shape" \
        --valid_data_path_and_name_and_type "$raw/$valid_set/wav.scp,speech,psslm_audio" \
        --valid_data_path_and_name_and_type "$raw/$valid_set/text,text,text" \
        --valid_shape_file "$raw/$valid_set/speech_shape"
    finish
fi

if [ "$ctc_alone" = true ] && begin 7 decode_ctc "decode with CTC: $raw/{$valid_set ${spoken_test_list[*]}} -> $ctc_exp/decode"; then
    need_acoustic
    for name in "$valid_set" "${spoken_test_list[@]}"; do
        need "$raw/$name/wav.scp" 4
        more "$inference_ctc_args"
        decode "$python" -m espnet_psslm.bin.asr_inference "${asr_opts[@]}" \
            --data_dir "$raw/$name" --output_dir "$ctc_exp/decode/$name" \
            --batch_size "${batch_size:-16}" --device "$device"
        reference=$raw/$name/text
        if [ "$unit_type" = phn ]; then # errors are counted in phones
            reference=$ctc_exp/decode/$name/reference_phones
            run "$python" -m espnet_psslm.bin.pronounce --text "$raw/$name/text" \
                --phone_language "$phone_language" --output "$reference"
        fi
        run "$python" -m espnet_psslm.bin.score --ref "$reference" \
            --hyp "$ctc_exp/decode/$name/1best_recog/text" --metric wer --seed "$seed" \
            --language "$lang" --output "$ctc_exp/decode/$name/score_wer.json"
    done
    run "$python" -m espnet_psslm.bin.plot_posterior "${asr_opts[@]}" \
        --data_dir "$raw/$valid_set" --recog_dir "$ctc_exp/decode/$valid_set/1best_recog" \
        --output_dir "$ctc_exp/decode/$valid_set/plots" --num_utts 5 --device "$device"
    finish
fi

step_sets=("$valid_set")
if [ "$sft" = true ]; then step_sets+=("$sft_set"); fi
if [ "$train_on" = steps ]; then step_sets+=("$train_set"); fi

# dump_set NAME OUTPUT OPTIONS
dump_set() {
    need "$raw/$1/psslm.jsonl" 4
    need "$psslm_config"
    more "$dump_args"
    decode "$python" -m espnet_psslm.bin.dump_steps \
        "${asr_opts[@]}" --data_dir "$raw/$1" --output_dir "$2" \
        --psslm_config "$psslm_config" ${reduction_opts[@]+"${reduction_opts[@]}"} \
        --batch_size "${batch_size:-16}" --device "$device" "${@:3}"
}

if [ "$train_on" != audio ] && begin 8 dump_steps "dump steps: $raw/{${step_sets[*]}} -> $steps, $expdir/steps_stats"; then
    need_acoustic
    for name in "${step_sets[@]}"; do
        dump_set "$name" "$steps/$name"
        mkdir -p "$expdir/steps_stats"
        copy "$steps/$name/stats.json" "$expdir/steps_stats/$name.json"
    done
    if [ "$simulator" = learned ]; then
        for strength in $harder; do
            dump_set "$train_set" "$steps/${train_set}_harder$strength" --harder "$strength"
        done
    fi
    finish
fi

# train_simulator: on speech made harder; it and the rules are then judged on development speech.
train_simulator() {
    local pairs=$steps/pairs manifests=()
    for strength in $harder; do
        need "$steps/${train_set}_harder$strength/psslm.jsonl" 8
        manifests+=("$steps/${train_set}_harder$strength/psslm.jsonl")
    done
    need "$simulator_config"
    run "$python" -m espnet_psslm.bin.simulator_pairs --steps_manifest "${manifests[@]}" \
        "${unit_opts[@]}" --output "$pairs/train.jsonl"
    run "$python" -m espnet_psslm.bin.simulator_pairs \
        --steps_manifest "$steps/$valid_set/psslm.jsonl" "${unit_opts[@]}" --output "$pairs/valid.jsonl"
    more "$simulator_args"
    train "$ngpu" "$num_nodes" "$simulator_exp/train.log" \
        "$python" -m espnet_psslm.bin.simulator_train --config "$simulator_config" \
        --output_dir "$simulator_exp" --seed "$seed" --resume "$resume" "${unit_opts[@]}" \
        --train_data_path_and_name_and_type "$pairs/train.jsonl,sample,psslm_jsonl" \
        --valid_data_path_and_name_and_type "$pairs/valid.jsonl,sample,psslm_jsonl"
    run "$python" -m espnet_psslm.bin.simulation_distance \
        --steps_manifest "$steps/$valid_set/psslm.jsonl" "${unit_opts[@]}" \
        --measured "$simulation_file" --learned_config "$simulator_exp/config.yaml" \
        --learned_file "$simulator_model" --seed "$seed" --output_dir "$simulator_exp/judged"
}

if [ "$simulator" != tasu ] && begin 9 simulation_stats "simulation, $simulator: $steps/$valid_set -> $simulation_file"; then
    need "$steps/$valid_set/psslm.jsonl" 8
    run "$python" -m espnet_psslm.bin.simulation_stats \
        --steps_manifest "$steps/$valid_set/psslm.jsonl" "${unit_opts[@]}" \
        --output "$simulation_file"
    if [ "$simulator" = learned ]; then
        train_simulator
    fi
    finish
fi

# What is trained on, and what made it; development and fine-tuning hear speech.
heard=$steps heard_stage=8
case $train_on in
    text) text_data=$datadir/$text_set/psslm.jsonl text_stage=1 ;;
    steps) text_data=$steps/$train_set/psslm.jsonl text_stage=8 ;;
    audio)
        heard=$raw heard_stage=4
        text_data=$raw/$train_set/psslm.jsonl text_stage=4
        ;;
    *) die "--train_on $train_on: choose text, steps or audio" ;;
esac
sft_data=$heard/$sft_set/psslm.jsonl
valid_data=$heard/$valid_set/psslm.jsonl
# Options of psslm_train that all its calls share.
bridge_opts=(
    --seed "$seed" --resume "$resume"
    ${unit_opts[@]+"${unit_opts[@]}"}
    --prompt_file "$prompt_file"
    "${acoustic_opts[@]}" ${reduction_opts[@]+"${reduction_opts[@]}"}
    --valid_data_path_and_name_and_type "$valid_data,sample,psslm_jsonl"
)
bridge_opts+=(--simulator "$simulator")
if [ "$simulator" != tasu ]; then
    bridge_opts+=(--simulator_conf "measured=$simulation_file")
fi
if [ "$simulator" = learned ]; then
    bridge_opts+=(--simulator_conf "train_config=$simulator_exp/config.yaml")
    bridge_opts+=(--simulator_conf "model_file=$simulator_model")
fi
text_stats=$system/psslm_stats/text
sft_stats=$system/psslm_stats/sft

# train_bridge CONFIG OUTPUT DATA ARGS OPTIONS: ARGS are several words; also measures lengths, with --collect_stats true, which builds
# no model and takes one process.
train_bridge() {
    need "$1"
    need "$prompt_file"
    local devices=("$ngpu" "$num_nodes")
    if [ "${5:-}" = --collect_stats ]; then devices=(0 1); fi
    more "$4" "$psslm_args"
    train "${devices[@]}" "$2/train.log" \
        "$python" -m espnet_psslm.bin.psslm_train --config "$1" --output_dir "$2" \
        "${bridge_opts[@]}" --train_data_path_and_name_and_type "$3,sample,psslm_jsonl" \
        "${@:5}"
}

if begin 10 bridge_stats "lengths for batches: $text_data, $steps -> $system/psslm_stats"; then
    need "$text_data" "$text_stage"
    need "$valid_data" "$heard_stage"
    [ "$simulator" = tasu ] || need "$simulation_file" 9
    [ "$simulator" != learned ] || need "$simulator_model" 9
    train_bridge "$psslm_config" "$text_stats" "$text_data" "$text_args" --collect_stats true
    if [ "$sft" = true ]; then
        need "$sft_data" "$heard_stage"
        train_bridge "$sft_config" "$sft_stats" "$sft_data" "$sft_args" --collect_stats true
    fi
    finish
fi

if begin 11 train_bridge "train the bridge: $text_data -> $text_exp; with audio steps: $sft"; then
    need "$text_stats/train/length_shape" 10
    need_acoustic
    init_opts=()
    if [ -n "$pretrained_model" ]; then init_opts=(--init_param "$pretrained_model"); fi
    train_bridge "$psslm_config" "$text_exp" "$text_data" "$text_args" ${init_opts[@]+"${init_opts[@]}"} \
        --train_shape_file "$text_stats/train/length_shape" \
        --valid_shape_file "$text_stats/valid/length_shape"
    if [ "$sft" = true ]; then
        need "$sft_stats/train/length_shape" 10
        train_bridge "$sft_config" "$sft_exp" "$sft_data" "$sft_args" \
            --init_param "$text_exp/$inference_psslm_model" \
            --train_shape_file "$sft_stats/train/length_shape" \
            --valid_shape_file "$sft_stats/valid/length_shape"
    fi
    finish
fi

# Options of psslm_inference that all its calls share.
search_opts=(--device "$device")
if [ -n "$inference_config" ]; then search_opts+=(--config "$inference_config"); fi
if [ -n "$batch_size" ]; then search_opts+=(--batch_size "$batch_size"); fi
if [ -n "$beam_size" ]; then search_opts+=(--beam_size "$beam_size"); fi

# decode_bridge EXP SET OUTPUT OPTIONS
decode_bridge() {
    need "$1/$inference_psslm_model" 11
    need "$raw/$2/psslm.jsonl" 4
    more "$inference_args"
    decode "$python" -m espnet_psslm.bin.psslm_inference \
        --psslm_train_config "$1/config.yaml" --psslm_model_file "$1/$inference_psslm_model" \
        --manifest "$raw/$2/psslm.jsonl" --output_dir "$3" "${search_opts[@]}" "${@:4}"
}

# reduced_alike EXP: refuses options of the reduction that its training was not given.
reduced_alike() {
    [ ${#reduction_opts[@]} -gt 0 ] || return 0
    need "$1/$inference_psslm_model" 11
    "$python" -m espnet_psslm.bin.check_reduction --psslm_train_config "$1/config.yaml" "${reduction_opts[@]}"
}

if begin 12 decode "decode from audio: $raw/{${spoken_test_list[*]}} -> $system/psslm_*/decode"; then
    reduced_alike "$text_exp"
    if [ "$sft" = true ]; then reduced_alike "$sft_exp"; fi
    for name in "${test_set_list[@]}"; do
        decode_bridge "$text_exp" "$name" "$text_exp/decode/$name"
        if [ -n "$oracle_task" ]; then
            decode_bridge "$text_exp" "$name" "$text_exp/decode/${name}_oracle" \
                --oracle true --tasks "$oracle_task"
        fi
        if [ "$sft" = true ]; then
            decode_bridge "$sft_exp" "$name" "$sft_exp/decode/$name"
        fi
    done
    for name in ${plain_test_list[@]+"${plain_test_list[@]}"}; do
        decode_bridge "$text_exp" "$name" "$text_exp/decode/$name"
    done
    for name in ${text_test_list[@]+"${text_test_list[@]}"}; do
        decode_bridge "$text_exp" "$name" "$text_exp/decode/$name" --oracle true
        if [ "$sft" = true ]; then
            decode_bridge "$sft_exp" "$name" "$sft_exp/decode/$name" --oracle true
        fi
    done
    finish
fi

# A recipe may bring a table of its own.
if [ -e local/collect_results.py ]; then
    collect=("$python" local/collect_results.py)
else
    collect=("$python" -m espnet_psslm.bin.collect_results --language "$lang" --prompt_file "$prompt_file")
fi

if begin 13 score "score: $system/*/decode -> $system/results.json, $system/RESULTS.md"; then
    for name in "${test_set_list[@]}"; do
        [ "$ctc_alone" = false ] || need "$ctc_exp/decode/$name/1best_recog/text" 7
        need "$text_exp/decode/$name/stats.json" 12
        if [ "$sft" = true ]; then
            more "$forgetting_args"
            run "$python" -m espnet_psslm.bin.forgetting --manifest "$raw/$name/psslm.jsonl" \
                --before "$text_exp/decode/$name" --after "$sft_exp/decode/$name" \
                --output "$system/forgetting_$name.md" --language "$lang" --seed "$seed" \
                --prompt_file "$prompt_file"
        fi
    done
    collect+=(--expdir "$system" --raw_dir "$raw" --test_sets "${test_set_list[@]}")
    collect+=(${text_test_list[@]+"${text_test_list[@]}"})
    if [ -n "$plain_test_sets" ]; then collect+=(--plain_test_sets "${plain_test_list[@]}"); fi
    collect+=(--ctc_exp "$ctc_exp" --sft "$sft" --seed "$seed")
    run "${collect[@]}"
    scored=true
    finish
fi

if begin 14 pack "pack: $packed_exp -> $system/psslm.zip"; then
    need "$packed_exp/$inference_psslm_model" 11
    notes=()
    if [ -n "$pack_notes" ]; then notes=(--notes "$pack_notes"); fi
    if [ "$skip_eval" = false ]; then
        need "$system/results.json" 13
        notes+=(--option "$system/RESULTS.md" --option "$system/results.json")
    fi
    if [ "$outside_share" != 0 ]; then
        need "$steps/$valid_set/psslm.jsonl" 8
        need "$datadir/$text_set/text" 1
        more "$inference_args"
        run "$python" -m espnet_psslm.bin.calibrate --share "$outside_share" \
            --psslm_train_config "$packed_exp/config.yaml" \
            --psslm_model_file "$packed_exp/$inference_psslm_model" \
            --manifest "$steps/$valid_set/psslm.jsonl" --text "$datadir/$text_set/text" \
            --output "$packed_exp/outside.yaml" "${search_opts[@]}"
        notes+=(--outside "$packed_exp/outside.yaml")
    fi
    if [ "$pack_replay" = true ]; then
        need "$text_data" "$text_stage"
        need "$steps/$valid_set/psslm.jsonl" 8
        notes+=(--replay "$text_data" --replay_held_out "$steps/$valid_set/psslm.jsonl")
    fi
    run "$python" -m espnet_psslm.bin.pack --psslm_train_config "$packed_exp/config.yaml" \
        --psslm_model_file "$packed_exp/$inference_psslm_model" --outpath "$system/psslm.zip" \
        --title "$title" ${notes[@]+"${notes[@]}"}
    finish
fi

if begin 15 upload "upload: $system/psslm.zip"; then
    if [ -n "$hf_repo" ]; then
        need "$system/psslm.zip" 14
        run "$python" "$main_root/local/upload_pack.py" --archive "$system/psslm.zip" \
            --repo "$hf_repo"
    else
        log "nothing uploaded: --hf_repo names no repository"
    fi
    finish
fi

# The seconds of the last stages are known only now.
if [ "${scored:-}" = true ]; then "${collect[@]}" --print_table true; fi
log "done"
