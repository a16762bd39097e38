"""The harness itself: a real pod runs, and nothing is left on the machine."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from tests.support.cluster import Cluster

from moorage.host.mountinfo import read_mounts

pytestmark = [pytest.mark.cluster, pytest.mark.root, pytest.mark.timeout(300)]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: speaker}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "busybox:test", imagePullPolicy: Never, command: [sh, -c, "echo hello; sleep 1000"]}
"""


def test_a_pod_runs_and_can_be_entered(cluster: Cluster) -> None:
    cluster.apply(POD)
    cluster.wait("the pod runs", lambda: cluster.get("pod", "speaker")["status"]["phase"] == "Running")
    assert cluster.kubectl("logs", "speaker").strip() == "hello"
    assert cluster.kubectl("exec", "speaker", "--", "echo", "inside").strip() == "inside"
    cluster.kubectl("delete", "pod", "speaker", "--wait=true")


def test_the_cluster_listens_on_no_address_of_the_machine(cluster: Cluster) -> None:
    listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
    assert not any(f":{port} " in listening for port in (443, 2379, 10250, 10257))


def test_nothing_is_left_when_it_ends() -> None:
    with tempfile.TemporaryDirectory(prefix="mk-", dir="/tmp") as directory:
        with Cluster(Path(directory)) as second:
            processes = [process.pid for process in second._processes]
        points = [entry.mount_point for entry in read_mounts()]
        assert not [point for point in points if point.startswith((directory, "/var/lib/kubelet"))]
        assert not any(Path(f"/proc/{pid}").exists() for pid in processes)
