#!/usr/bin/env bash
# Set up the environment, then run the tests.
#
#   tests/run.sh [--all] [--python PYTHON] [pytest options]
#
# Default: everything but tests marked `long` (under 10 minutes on two cores). --all: everything (under 40).
# --python: use this interpreter and set nothing up. The last line is `N passed, N failed, N skipped`;
# errors count as failed. Where ../shared exists, a test that skips for want of it counts as failed; with CI
# set, as .ci/run does, so does every other skip but for want of a GPU.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

python=
selection=()
while [ $# -gt 0 ]; do
    case $1 in
        --all) selection=(-m "") && shift ;;
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
counts=$(mktemp)
trap 'rm -f "$counts"' EXIT

code=0
PSSLM_TEST_COUNTS=$counts "$python" -m pytest ${selection[@]+"${selection[@]}"} "$@" || code=$?
# No counts: pytest died before it could write them.
if [ ! -s "$counts" ]; then
    echo "0 passed, 1 failed, 0 skipped" >"$counts"
    [ "$code" -ne 0 ] || code=1
fi
cat "$counts"
exit "$code"
