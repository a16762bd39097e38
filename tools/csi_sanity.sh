#!/usr/bin/env bash
# Prints the path of csi-sanity, the conformance suite of the CSI project, building it when it is not in the cache.
# The build log goes to stderr. The Go toolchain's own settings (GOPROXY, GOFLAGS, ...) apply.
set -euo pipefail

version=5.6.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/moorage/csi-sanity-$version
binary=$cache/csi-sanity

if [ ! -x "$binary" ]; then
    if ! go=$("$(dirname "$0")/find_go.sh"); then
        echo "csi-sanity: no Go >= 1.26 to build it with; run 'make deps'" >&2
        exit 1
    fi
    echo "csi-sanity: building $version with $go" >&2
    mkdir -p "$cache"
    scratch=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    GOBIN=$scratch "$go" install "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@v$version" >&2
    mv -f "$scratch/csi-sanity" "$binary"
fi
echo "$binary"
