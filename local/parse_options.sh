# shellcheck shell=bash
# Sourced: every variable that the caller has set becomes an option, as with Kaldi's script of this name.
#
#   seed=0
#   help_message="Usage: ..."
#   . local/parse_options.sh          # understands --seed 3 and --seed=3, --help, --config FILE
#
# --config FILE is a bash file that sets variables; options after it win. Dashes in names become
# underscores. A variable that holds true or false takes nothing else. Stops at the first argument
# that is no option; those stay in "$@". Names are lower case, so that no environment variable is one.

parse_options_fail() {
    echo "${0##*/}: $1 (--help lists the options)" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --help | -h)
            printf '%s\n' "${help_message:-${0##*/}: no help}"
            exit 0
            ;;
        --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
        --*) ;;
        *) break ;;
    esac
    option_name=${1#--}
    option_name=${option_name//-/_}
    [[ $option_name =~ ^[a-z][a-z0-9_]*$ ]] || parse_options_fail "bad option $1"
    [ $# -ge 2 ] || parse_options_fail "option $1 needs a value"
    if [ "$option_name" = config ]; then
        [ -f "$2" ] || parse_options_fail "--config $2: no such file"
        # shellcheck disable=SC1090
        . "$2"
        shift 2
        continue
    fi
    [ -n "${!option_name+set}" ] || parse_options_fail "unknown option $1"
    if [[ ${!option_name} =~ ^(true|false)$ && ! $2 =~ ^(true|false)$ ]]; then
        parse_options_fail "option $1 takes true or false, not '$2'"
    fi
    printf -v "$option_name" '%s' "$2"
    shift 2
done
unset option_name
