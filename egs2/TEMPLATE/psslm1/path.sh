# shellcheck shell=bash
# Sourced by a recipe's path.sh, in its folder: the environment, and this checkout on the module path.
# $python: interpreter to use; empty: the environment of local/setup_env.sh, made where it is missing.

template_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
if [ -z "${python:-}" ]; then
    python=$("$template_root/local/setup_env.sh" | tail -n 1)/bin/python || exit 1
fi
export python
PATH=$(cd "$(dirname "$(command -v "$python")")" && pwd):$PATH
export PATH
export PYTHONPATH=$template_root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONIOENCODING=UTF-8 TOKENIZERS_PARALLELISM=false
# Sorting and set order are the same everywhere.
export LC_ALL=C.UTF-8
