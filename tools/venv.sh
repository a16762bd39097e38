#!/usr/bin/env bash
# Makes or updates .venv from requirements.lock and installs the package into it, editable.
#
# Usage: tools/venv.sh [PYTHON]
#
# Needs Python >= 3.11 and pip, nothing else: where the distribution splits `ensurepip` off
# (python3-venv on Debian), the environment is made without pip and the interpreter's own pip fills it.
# Every download is checked against the hashes in the lock. Where an index offers other builds of the
# same versions, MOORAGE_UNPINNED=1 installs the same versions without the hashes.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "venv: '$python' is not Python 3.11 or newer; name one with 'make PYTHON=python3.12 .venv'" >&2
    exit 1
fi

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then
    rm -rf .venv
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv .venv
    elif "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv --without-pip .venv
        "$python" -m pip --python .venv/bin/python install --quiet pip
    else
        echo "venv: '$python' has neither ensurepip nor pip; install python3-venv (as root: make deps)" >&2
        exit 1
    fi
fi

pip=(.venv/bin/python -m pip --disable-pip-version-check install --quiet)
if [ "${MOORAGE_UNPINNED:-}" = 1 ]; then
    echo "venv: installing the locked versions without their hashes"
    unpinned=$(mktemp)
    trap 'rm -f "$unpinned"' EXIT
    sed -e '/^ *--hash=/d' -e 's/ \\$//' requirements.lock >"$unpinned"
    "${pip[@]}" -r "$unpinned"
else
    echo "venv: installing requirements.lock"
    "${pip[@]}" --require-hashes -r requirements.lock
fi
"${pip[@]}" --no-deps --no-build-isolation -e .
