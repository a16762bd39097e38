"""The files and flags that the programs of the cluster are started with."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.cluster.certificates import Authority
from tests.support.cluster.images import PAUSE

NODE = "node-1"
NODE_IP = "10.88.0.1"
SERVICE_IP = "10.96.0.1"


def namespace_script(directory: Path) -> str:
    """What makes the namespace a machine of its own: addresses, a bridge for pods, a private /var/lib/kubelet."""
    kubelet = directory / "kubelet"
    return f"""
# Copies of others' loop mounts would keep their devices busy for as long as this namespace lives.
awk '{{for (i = 7; i < NF; i++) if ($i == "-" && $(i + 2) ~ "^/dev/loop") print $5}}' /proc/self/mountinfo |
    while read -r point; do umount -l "$point" 2>/dev/null || true; done
ip link set lo up
ip addr add {SERVICE_IP}/32 dev lo
ip link add cni0 type bridge
ip addr add {NODE_IP}/16 dev cni0
ip link set cni0 up
echo 1 >/proc/sys/net/ipv4/ip_forward
mkdir -p {kubelet} /var/lib/kubelet
mount --bind {kubelet} /var/lib/kubelet
mount --make-rshared /var/lib/kubelet
mount -t tmpfs tmpfs /run
"""


def apiserver_flags(authority: Authority, *, feature_gates: str) -> list[str]:
    """Flags of kube-apiserver."""
    names = f"IP:{SERVICE_IP},IP:127.0.0.1,DNS:kubernetes.default.svc,DNS:kubernetes"
    serving = authority.issue("apiserver", "/CN=kube-apiserver", alternative_names=names)
    kubelet_client = authority.issue("apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet")
    accounts = authority.signing_key("service-account")
    flags = [
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        "--secure-port=443",
        f"--advertise-address={SERVICE_IP}",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={accounts.certificate}",
        f"--service-account-signing-key-file={accounts.key}",
        f"--client-ca-file={authority.ca.certificate}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--kubelet-client-certificate={kubelet_client.certificate}",
        f"--kubelet-client-key={kubelet_client.key}",
    ]
    return [*flags, f"--feature-gates={feature_gates}"] if feature_gates else flags


def controller_manager_flags(authority: Authority, kubeconfig: Path, *, api_qps: int) -> list[str]:
    """Flags of kube-controller-manager; `api_qps` is its own limit of requests a second."""
    return [
        f"--kubeconfig={kubeconfig}",
        f"--root-ca-file={authority.ca.certificate}",
        f"--service-account-private-key-file={authority.directory / 'service-account.key'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        f"--kube-api-qps={api_qps}",
        f"--kube-api-burst={2 * api_qps}",
    ]


def write_containerd(directory: Path) -> Path:
    """Write containerd's configuration and that of its network; the path of the first."""
    network = directory / "cni"
    network.mkdir()
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "dataDir": str(directory / "ipam")},
    }
    plugins = {"cniVersion": "0.4.0", "name": "test", "plugins": [bridge]}
    (network / "10-bridge.conflist").write_text(json.dumps(plugins))
    path = directory / "containerd.toml"
    path.write_text(
        f"""\
version = 2
root = "{directory}/containerd/root"
state = "{directory}/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{directory}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{network}"
"""
    )
    return path


def write_kubelet(directory: Path, authority: Authority, *, feature_gates: str) -> Path:
    """Write the kubelet's configuration."""
    gates = dict(pair.split("=") for pair in feature_gates.split(",")) if feature_gates else {}
    configuration = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"x509": {"clientCAFile": str(authority.ca.certificate)}, "webhook": {"enabled": True}},
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{directory}/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "evictionHard": {},
        "enforceNodeAllocatable": [],
        "serverTLSBootstrap": False,
        "registerNode": True,
        "featureGates": {name: value == "true" for name, value in gates.items()},
    }
    path = directory / "kubelet.json"
    path.write_text(json.dumps(configuration))
    return path
