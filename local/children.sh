# shellcheck shell=bash disable=SC2317
# Sourced at the head of a script, with the script's arguments: the script runs once more, as a group of
# processes, and this one waits. TERM, INT or HUP to it end the whole group: what has not ended 4 s after
# TERM is killed. Without this bash would end and training go on. What is ignored, as HUP by nohup, stays so.

if [ "${PSSLM_SUPERVISOR:-}" != "$PPID" ]; then
    group=
    # end_group NUMBER: of the signal.
    end_group() {
        trap '' TERM INT HUP
        group=${group:-$!} # it may have come right behind the start
        kill -TERM -- "-$group" 2>/dev/null || :
        for _ in {1..40}; do
            kill -0 -- "-$group" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$group" 2>/dev/null || :
        exit $((128 + $1))
    }
    # A stop from the keyboard reaches this process alone, too.
    stop_group() {
        kill -STOP -- "-$group"
        kill -STOP $$
        kill -CONT -- "-$group"
    }
    trap 'end_group 15' TERM
    trap 'end_group 2' INT
    trap 'end_group 1' HUP
    trap stop_group TSTP
    set -m # what is started in the background becomes a group
    PSSLM_SUPERVISOR=$$ "$BASH" "$0" "$@" </dev/null &
    group=$!
    set +m
    code=0
    wait "$group" || code=$?
    while kill -0 "$group" 2>/dev/null; do # it was a stop that ended the wait
        code=0
        wait "$group" || code=$?
    done
    exit "$code"
fi
