"""Starts and ends the cluster, and speaks to it with kubectl."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.cluster import configuration
from tests.support.cluster.certificates import Authority
from tests.support.cluster.images import BUSYBOX, PAUSE, busybox_files, write_archive
from tests.support.cluster.namespace import Namespace, Process

NEEDED = ("etcd", "containerd", "runc", "busybox", "openssl", "ip", "nsenter", "unshare", "iptables")


class ClusterError(Exception):
    """The cluster cannot be started or did something unforeseen; the message has the end of the log."""


def find_binaries() -> Path | None:
    """The directory with Kubernetes' programs, None when they are not built."""
    script = Path(__file__).parents[3] / "tools" / "kubernetes.sh"
    done = subprocess.run([str(script), "where"], capture_output=True, text=True, check=False)
    return Path(done.stdout.strip()) if done.returncode == 0 else None


class Cluster:
    """One node; use it as a context manager. `kcm_qps` limits the controller manager's requests a second."""

    def __init__(self, directory: Path, *, feature_gates: str = "", kcm_qps: int = 20) -> None:
        self.directory = directory
        self.node = configuration.NODE
        self._gates = feature_gates
        self._kcm_qps = kcm_qps
        self._namespace = Namespace(directory, configuration.namespace_script(directory))
        self._processes: list[Process] = []
        self._bin = Path()
        self.admin = Path()
        """A kubeconfig that may do everything."""

    def __enter__(self) -> Self:
        if missing := [name for name in NEEDED if shutil.which(name) is None]:
            raise ClusterError(f"missing: {', '.join(missing)}; tools/deps.sh cluster installs them")
        if (found := find_binaries()) is None:
            raise ClusterError("Kubernetes is not built; tools/kubernetes.sh builds it")
        if kubelets := _own_kubelets():
            raise ClusterError(f"a kubelet runs on this machine (pid {kubelets[0]}); this cluster would be in its way")
        self._bin = found
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    # --- for tests ---------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, input_text: str | None = None, check: bool = True, timeout_s: float = 60) -> str:
        """Run kubectl as administrator and return what it printed. Raises CalledProcessError."""
        argv = (str(self._bin / "kubectl"), f"--kubeconfig={self.admin}", *arguments)
        return self._namespace.run(*argv, input_text=input_text, check=check, timeout_s=timeout_s).stdout

    def apply(self, *objects: dict[str, Any] | str) -> None:
        """Apply objects, or YAML."""
        for item in objects:
            text = item if isinstance(item, str) else json.dumps(item)
            self.kubectl("apply", "--server-side", "-f", "-", input_text=text)

    def get(self, *arguments: str) -> Any:
        """`kubectl get ... -o json`, decoded."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def wait(self, what: str, holds: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
        """Wait until `holds`. Raises ClusterError, naming `what`."""
        give_up_s = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > give_up_s:
                raise ClusterError(f"after {timeout_s:g} s still not: {what}")
            time.sleep(0.1)

    def spawn(self, name: str, *argv: str, env: dict[str, str] | None = None) -> Process:
        """Start a program beside the kubelet, as if it ran on the node; it ends with the cluster."""
        process = self._namespace.spawn(name, argv, env=env)
        self._processes.append(process)
        return process

    def run(self, *argv: str, timeout_s: float = 60.0) -> str:
        """Run a program on the node to its end. Raises CalledProcessError."""
        return self._namespace.run(*argv, timeout_s=timeout_s).stdout

    # --- start and end -----------------------------------------------------------------------------

    def _start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._namespace.start()
        authority = Authority(self.directory / "pki")
        self.admin = authority.kubeconfig("admin", "/O=system:masters/CN=admin")
        self._start_control_plane(authority)
        self._start_node(authority)
        self.wait("the node is Ready", self._node_is_ready, timeout_s=90)
        self.wait("the default service account exists", self._account_exists)

    def _start_control_plane(self, authority: Authority) -> None:
        data = ("--data-dir", str(self.directory / "etcd"))
        addresses = ("--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379")
        peers = ("--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync")
        self.spawn("etcd", "etcd", *data, *addresses, *peers)
        flags = configuration.apiserver_flags(authority, feature_gates=self._gates)
        self.spawn("kube-apiserver", str(self._bin / "kube-apiserver"), *flags)
        self.wait("the API server is ready", self._api_is_ready, timeout_s=90)
        manager = authority.kubeconfig("kcm", "/CN=system:kube-controller-manager")
        flags = configuration.controller_manager_flags(authority, manager, api_qps=self._kcm_qps)
        self.spawn("kube-controller-manager", str(self._bin / "kube-controller-manager"), *flags)
        scheduler = authority.kubeconfig("scheduler", "/CN=system:kube-scheduler")
        flags = [f"--kubeconfig={scheduler}", "--leader-elect=false"]
        self.spawn("kube-scheduler", str(self._bin / "kube-scheduler"), *flags)

    def _start_node(self, authority: Authority) -> None:
        toml = configuration.write_containerd(self.directory)
        self.spawn("containerd", "containerd", "--config", str(toml))
        self.wait("containerd answers", lambda: self._ctr("version").returncode == 0)
        archive = self.directory / "image.tar"
        for name, entrypoint in ((BUSYBOX, ()), (PAUSE, ("/bin/sleep", "infinity"))):
            write_archive(archive, name, busybox_files(), entrypoint=entrypoint)
            self._ctr("images", "import", str(archive)).check_returncode()
        kubeconfig = authority.kubeconfig("kubelet", f"/O=system:nodes/CN=system:node:{self.node}")
        config = configuration.write_kubelet(self.directory, authority, feature_gates=self._gates)
        self.spawn(
            *("kubelet", str(self._bin / "kubelet"), f"--kubeconfig={kubeconfig}", f"--config={config}"),
            *(f"--hostname-override={self.node}", f"--node-ip={configuration.NODE_IP}", "--root-dir=/var/lib/kubelet"),
        )

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = ("ctr", "--address", f"{self.directory}/containerd.sock", "--namespace", "k8s.io", *arguments)
        return self._namespace.run(*argv, check=False)

    def _api_is_ready(self) -> bool:
        self._require_running()
        return self.kubectl("get", "--raw=/readyz", check=False, timeout_s=10).strip() == "ok"

    def _node_is_ready(self) -> bool:
        self._require_running()
        path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        return self.kubectl("get", "node", self.node, "-o", path, check=False).strip() == "True"

    def _account_exists(self) -> bool:
        return "default" in self.kubectl("get", "serviceaccounts", "-o", "name", check=False)

    def _require_running(self) -> None:
        for process in self._processes:
            if not process.running:
                raise ClusterError(f"{process.name} has ended: {process.log_tail()}")

    def _stop(self) -> None:
        for process in reversed(self._processes):
            if process.name == "kubelet":
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.kill(signal.SIGTERM)
        self._namespace.stop()
        for process in self._processes:
            process.wait()
        _remove_cgroups()


def _own_kubelets() -> list[int]:
    """Processes named kubelet in this PID namespace that no test cluster started."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "comm").read_text().strip() == "kubelet":
                same = os.readlink(entry / "ns/pid") == os.readlink("/proc/self/ns/pid")
                found += [int(entry.name)] if same else []
    return found


def _remove_cgroups() -> None:
    """Remove the empty control groups that pods left; one with processes stays."""
    for root in Path("/sys/fs/cgroup").glob("*/kubepods"):
        for path in sorted((p for p in root.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)):
            with contextlib.suppress(OSError):
                path.rmdir()
        with contextlib.suppress(OSError):
            root.rmdir()
