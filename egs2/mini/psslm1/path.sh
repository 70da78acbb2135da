# shellcheck shell=bash
# Sourced in the recipe's folder: the environment, and this checkout on the module path.
# $python: interpreter to use; empty: the environment of local/setup_env.sh, made where it is missing.

recipe_root=$(cd ../../.. && pwd)
if [ -z "${python:-}" ]; then
    python=$("$recipe_root/local/setup_env.sh" | tail -n 1)/bin/python || exit 1
fi
export python
PATH=$(cd "$(dirname "$(command -v "$python")")" && pwd):$PATH
export PATH
export PYTHONPATH=$recipe_root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONIOENCODING=UTF-8 TOKENIZERS_PARALLELISM=false
# Sorting and set order are the same everywhere.
export LC_ALL=C.UTF-8
