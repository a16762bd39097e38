#!/usr/bin/env bash
# Builds the CSI peers of the contract tests (tests/contract/rpc/peers), which speak CSI by other gRPC
# implementations than ours: grpc-go and Rust's tonic. Prints the path of each binary.
#
# Usage: tools/peers.sh                   build what is not in the cache
#        tools/peers.sh where go|rust     print where the binary belongs, and build nothing; exit 0: it is there,
#                                         1: it can be built, 2: its toolchain is missing
#
# Binaries are cached by the hash of their sources. Build logs go to stderr. Without cargo >= 1.88 the Rust peer is
# left out, which is no failure: Debian's Rust is too old for tonic.
set -euo pipefail
cd "$(dirname "$0")/.."

rust_minor_wanted=88
cache=${XDG_CACHE_HOME:-$HOME/.cache}/moorage
sources=tests/contract/rpc/peers

say() { echo "peers: $*" >&2; }

files_of() {
    case $1 in
        go) ls "$sources"/go/*.go "$sources"/go/go.mod "$sources"/go/go.sum ;;
        rust) ls "$sources"/rust/src/*.rs "$sources"/rust/{build.rs,Cargo.toml,Cargo.lock} proto/csi.proto ;;
        *) say "there is no peer '$1'; use go or rust"; exit 64 ;;
    esac
}

binary_of() {
    local files hash
    files=$(files_of "$1") || exit
    hash=$(LC_ALL=C sort <<<"$files" | xargs sha256sum | sha256sum)
    echo "$cache/$1-peer-${hash:0:16}/peer"
}

toolchain_of() {
    case $1 in
        go) tools/find_go.sh ;;
        rust)
            local version
            version=$(cargo --version 2>/dev/null) || return 1
            [[ $version =~ ^cargo\ 1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge "$rust_minor_wanted" ] || return 1
            command -v cargo
            ;;
    esac
}

compile() {
    local tool=$2 scratch=$3
    case $1 in
        go) GOWORK=off "$tool" build -C "$sources/go" -trimpath -ldflags='-s -w' -o "$scratch/peer" . >&2 ;;
        rust)
            "$tool" build --locked --manifest-path "$sources/rust/Cargo.toml" --target-dir "$scratch/target" >&2
            mv "$scratch/target/debug/peer" "$scratch/peer"
            ;;
    esac
}

build() (
    binary=$(binary_of "$1") || exit
    if [ ! -x "$binary" ]; then
        if ! tool=$(toolchain_of "$1"); then
            case $1 in
                go) say "no Go >= 1.26 to build the Go peer with; run 'make deps'"; exit 1 ;;
                rust) say "no cargo >= 1.$rust_minor_wanted: the Rust peer is left out and its tests are skipped"; exit 0 ;;
            esac
        fi
        say "building the $1 peer with $tool"
        directory=$(dirname "$binary")
        mkdir -p "$directory"
        scratch=$(mktemp -d "$directory/build.XXXXXX")
        trap 'rm -rf "$scratch"' EXIT
        compile "$1" "$tool" "$scratch" || exit 1
        mv -f "$scratch/peer" "$binary"
    fi
    echo "$binary"
)

if [ "${1:-}" = where ]; then
    binary=$(binary_of "${2:-}") || exit
    echo "$binary"
    [ -x "$binary" ] && exit 0
    toolchain_of "$2" >/dev/null && exit 1
    exit 2
elif [ $# -gt 0 ]; then
    say "unknown argument '$1'; use 'where go', 'where rust' or nothing"
    exit 64
fi

status=0
for name in go rust; do
    build "$name" || status=1
done
exit $status
