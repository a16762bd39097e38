#!/usr/bin/env bash
# Prints the path of the first Go toolchain of at least 1.26 on this machine; exit 1 when there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

minor_wanted=26
shopt -s nullglob
for go in "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go-1.*/bin/go \
    "$PWD"/.venv/lib/python3*/site-packages/go/bin/go; do
    [ -x "$go" ] || continue
    version=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null) || continue
    if [[ $version =~ ^go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge "$minor_wanted" ]; then
        echo "$go"
        exit 0
    fi
done
exit 1
