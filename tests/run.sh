#!/usr/bin/env bash
# Set up the environment, then run the tests.
#
#   tests/run.sh [--all] [--coverage] [--python PYTHON] [pytest options]
#
# Default: everything but tests marked `long` (under 10 minutes on two cores). --all: everything (about 40).
# --coverage: list how many lines of each file of the package have run, in all processes, the least covered
# first; a smaller share of all than pyproject.toml asks for is a failure. --python: use this interpreter and
# set nothing up. The last line is `N passed, N failed, N skipped`; errors count as failed. Where ../shared
# exists, a test that skips for want of it counts as failed; with CI set, as .ci/run does, so does every
# other skip but for want of a GPU.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

python=
coverage=false
selection=()
while [ $# -gt 0 ]; do
    case $1 in
        --all) selection=(-m "") && shift ;;
        --coverage) coverage=true && shift ;;
        --python) python=${2:?--python needs a value} && shift 2 ;;
        *) break ;;
    esac
done

if [ -z "$python" ]; then
    env=$(local/setup_env.sh | tail -n 1) || {
        echo "0 passed, 1 failed, 0 skipped"
        exit 1
    }
    python=$env/bin/python
fi

export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} TOKENIZERS_PARALLELISM=false
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
counts=$folder/counts
export COVERAGE_FILE=$folder/coverage
module=(pytest)
[ "$coverage" = false ] || module=(coverage run -m pytest)

code=0
PSSLM_TEST_COUNTS=$counts "$python" -m "${module[@]}" ${selection[@]+"${selection[@]}"} "$@" || code=$?
# No counts: pytest died before it could write them.
if [ ! -s "$counts" ]; then
    echo "0 passed, 1 failed, 0 skipped" >"$counts"
    [ "$code" -ne 0 ] || code=1
fi
if [ "$coverage" = true ]; then
    { "$python" -m coverage combine --quiet && "$python" -m coverage report; } || code=1
fi
cat "$counts"
exit "$code"
