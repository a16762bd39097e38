#!/usr/bin/env bash
# Builds the programs of a Kubernetes cluster from their Go modules and prints the directory that holds them.
#
# Usage: tools/kubernetes.sh           build what is not in the cache (about 8 minutes on 2 cores)
#        tools/kubernetes.sh where     print the directory and build nothing; exit 0: complete, 1: not
#        tools/kubernetes.sh pin VERSION    write tools/kubernetes/go.{mod,sum} for this version, v1.36.3 for example
#
# Nothing here is Moorage's own: the cluster tier runs the real kube-apiserver, controller manager, scheduler and
# kubelet. k8s.io/kubernetes replaces its staging modules by directories, which a module cannot; `pin` reads that
# list and replaces them by the published modules of the same version. Build logs go to stderr.
set -euo pipefail
cd "$(dirname "$0")/kubernetes"

programs=(kubectl kube-scheduler kubelet kube-controller-manager kube-apiserver)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/moorage

say() { echo "kubernetes: $*" >&2; }

version() { sed -n 's#^\(require \)\?[[:space:]]*k8s.io/kubernetes \(v[0-9.]*\).*#\2#p' go.mod; }

directory() { echo "$cache/kubernetes-$(version | tr -d v)"; }

complete() {
    local program
    for program in "${programs[@]}"; do [ -x "$(directory)/$program" ] || return 1; done
}

pin() {
    local wanted=$1 go module
    go=$(../find_go.sh)
    module=$("$go" mod download -json "k8s.io/kubernetes@$wanted" | sed -n 's/.*"GoMod": "\(.*\)",*/\1/p')
    {
        echo "module moorage.example/kubernetes"
        echo
        sed -n 's/^go \(.*\)/go \1/p' "$module"
        echo
        echo "require k8s.io/kubernetes $wanted"
        echo
        sed -n "s#^[[:space:]]*\(k8s.io/[a-z0-9-]*\) => ./staging/.*#replace \1 => \1 v0${wanted#v1}#p" "$module"
    } >go.mod
    rm -f go.sum
    "$go" mod tidy
}

build() {
    local go program wanted major minor
    go=$(../find_go.sh)
    wanted=$(version)
    mkdir -p "$(directory)"
    scratch=$(mktemp -d "$(directory)/build.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    IFS=. read -r major minor _ <<<"${wanted#v}"
    for program in "${programs[@]}"; do
        [ -x "$(directory)/$program" ] && continue
        say "building $program $wanted"
        CGO_ENABLED=0 GOWORK=off "$go" build -mod=readonly -trimpath -o "$scratch/$program" -ldflags \
            "-s -w -X k8s.io/component-base/version.gitVersion=$wanted -X k8s.io/component-base/version.gitMajor=$major -X k8s.io/component-base/version.gitMinor=$minor" \
            "k8s.io/kubernetes/cmd/$program" >&2
        mv "$scratch/$program" "$(directory)/$program"
    done
}

case ${1:-build} in
    build) complete || build; directory ;;
    where) directory; complete ;;
    pin) pin "${2:?the version to pin, v1.36.3 for example}" ;;
    *) say "unknown word '$1'; use where, pin, or no argument"; exit 2 ;;
esac
