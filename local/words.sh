# shellcheck shell=bash
# Sourced. Options that hold several words: a word with blanks stands in quotes, as in a shell.

# split TEXT: the array "words" gets the words of a text.
split() {
    local word lines
    words=()
    [[ $1 == *[![:space:]]* ]] || return 0
    lines=$(xargs -n 1 printf '%s\n' <<<"$1" 2>/dev/null) || {
        echo "${0##*/}: a quote is not closed in: $1" >&2
        exit 1
    }
    while IFS= read -r word; do words+=("$word"); done <<<"$lines"
}

# quoted WORD: the word as it stands in such a text.
quoted() {
    local quote=\' escaped="'\\''"
    if [[ $1 != *[!A-Za-z0-9_./:=@%+,-]* ]]; then
        printf '%s' "$1"
        return
    fi
    printf "'%s'" "${1//$quote/$escaped}"
}
