"""A real Kubernetes on this machine, in namespaces of its own, from binaries that `tools/kubernetes.sh` builds.

    with Cluster(tmp_path) as cluster:
        cluster.apply(manifest)
        cluster.kubectl("get", "nodes")

It has etcd, the API server, the controller manager, the scheduler, containerd and one kubelet. All processes live in
their own network, mount and PID namespaces: nothing listens on the machine's addresses, and when the first process of
the namespace dies, everything does. It needs root and refuses to start where a kubelet of the machine's own runs.
"""

from __future__ import annotations

from tests.support.cluster.cluster import Cluster, ClusterError

__all__ = ["Cluster", "ClusterError"]
