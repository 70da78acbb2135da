#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU: the tests that compare it with the CPU, then the benchmarks.
#
#   tests/gpu.sh [--python PYTHON] [--quick] [--dry_run] [--json FILE]
#
# --python: use this interpreter; else the environment of local/setup_env.sh. --quick: small benchmarks.
# --dry_run: say what would run. --json: where the benchmarks' numbers go (default gpu.json). Without a
# GPU it fails: no test is skipped. Rows of benchmarks that need the finished mini recipe are left out.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python='' json=gpu.json quick=() dry=
while [ $# -gt 0 ]; do
    case $1 in
        --python) python=${2:?--python needs a value} && shift 2 ;;
        --json) json=${2:?--json needs a value} && shift 2 ;;
        --quick) quick=(--quick) && shift ;;
        --dry_run) dry=1 && shift ;;
        -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0" && exit ;;
        *) echo "gpu.sh: unknown option $1" >&2 && exit 1 ;;
    esac
done

if [ -z "$python" ] && [ -z "$dry" ]; then
    python=$(local/setup_env.sh | tail -n 1)/bin/python
fi
rows=()
for row in encoder_ctc ctc_step text_step lora_step; do
    rows+=(--row "$row")
done

go() {
    echo "+ $*"
    [ -n "$dry" ] || "$@"
}

export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PSSLM_NEEDS_GPU=1 TOKENIZERS_PARALLELISM=false
go "${python:-python}" -m pytest -m requires_cuda tests/gpu tests/unit/test_device.py
go "${python:-python}" benchmarks/run.py --device cuda --json "$json" ${quick[@]+"${quick[@]}"} "${rows[@]}"
