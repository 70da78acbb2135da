# shellcheck shell=bash
# Sourced: messages with time and place, and the check of what a stage needs.

log() {
    echo "$(date '+%Y-%m-%dT%H:%M:%S') (${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}) $*" >&2
}

die() {
    echo "$(date '+%Y-%m-%dT%H:%M:%S') (${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}) ERROR: $*" >&2
    exit 1
}

# need FILE [STAGE]: the file must exist and not be empty; else name it, and the stage that makes it.
need() {
    local advice="write it, or name another"
    [ $# -eq 1 ] || advice="run stage $2 first"
    [ -s "$1" ] || die "missing or empty input $1: $advice"
}

# need_corpus NAME WHAT: the variable NAME of db.sh must hold a folder; else say so in one line.
need_corpus() {
    local folder=${!1:-}
    [ -n "$folder" ] || die "$1= is empty in $PWD/db.sh: set it to $2"
    [ -d "$folder" ] || die "$1=$folder of $PWD/db.sh is no folder: set it to $2"
}

# copy FROM TO: whole or not at all.
copy() {
    cp "$1" "$2.tmp" || { rm -f "$2.tmp"; die "$1 cannot be copied to $2"; }
    mv "$2.tmp" "$2"
}
