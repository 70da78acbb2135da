# shellcheck shell=bash
# Sourced by a run.sh: takes the recipe's own options out of the arguments, for psslm.sh the others.
#
#   lang=en
#   own_help="  --lang CODE        folder of the language"
#   own_options="lang"
#   . ../../../local/own_options.sh
#
# Understands --lang de and --lang=de and sets $lang; $options keeps the rest in its order, and
# $command_line all of it. --help prints $own_help before psslm.sh's help.

command_line="egs2/$(basename "${PWD%/*}")/${PWD##*/}/${0##*/} $*"
options=()
while [ $# -gt 0 ]; do
    name=${1%%=*}
    case $name in
        --help | -h)
            printf 'Usage: %s [options]\n\nOptions of this recipe:\n%s\n\n' "$0" "$own_help"
            exec ../../TEMPLATE/psslm1/psslm.sh --help
            ;;
        --*) ;;
        *)
            echo "${0##*/}: unexpected argument $1 (--help lists the options)" >&2
            exit 1
            ;;
    esac
    if [[ $1 == *=* ]]; then
        value=${1#*=} taken=1
    elif [ $# -ge 2 ]; then
        value=$2 taken=2
    else
        echo "${0##*/}: option $1 needs a value" >&2
        exit 1
    fi
    case " $own_options " in
        *" ${name#--} "*) printf -v "${name#--}" '%s' "$value" ;;
        *) options+=("$name" "$value") ;;
    esac
    shift "$taken"
done
unset name value taken
