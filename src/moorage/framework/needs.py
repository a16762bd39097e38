"""What a driver needs where it is deployed, as a value: read by manifest generators, not by the driver."""

from __future__ import annotations

from msgspec import Struct


class HostMount(Struct, frozen=True):
    """A directory of the host that the node pod must see."""

    path: str
    read_only: bool = False
    propagation: str = ""  # "", "HostToContainer" or "Bidirectional"


class DeploymentNeeds(Struct, frozen=True, kw_only=True):
    """Mounts, privileges and ports of a driver's pods."""

    node_privileged: bool = True
    node_mounts: tuple[HostMount, ...] = ()
    host_network: bool = False
    controller_on_node: bool = False
    controller_privileged: bool = False
    ports: tuple[int, ...] = ()
    packages: tuple[str, ...] = ()
