# shellcheck shell=bash
# Sourced: messages with time and place, and checks of what a stage needs.

log() {
    echo "$(date '+%Y-%m-%dT%H:%M:%S') (${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}) $*" >&2
}

die() {
    echo "$(date '+%Y-%m-%dT%H:%M:%S') (${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}) ERROR: $*" >&2
    exit 1
}

# need FILE STAGE: the file must exist and not be empty; else name the stage that makes it.
need() {
    [ -s "$1" ] || die "missing or empty input $1: run stage $2 first"
}
