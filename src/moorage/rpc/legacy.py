"""Peers from before CSI 1.0: recognised, never served, and named in one sentence.

The package name tells the generation: `csi` was 0.1, `csi.v0` was 0.2 and 0.3, `csi.v1` is every 1.x. Their
messages are incompatible (spec, section 4). This module knows no connection.
"""

from __future__ import annotations

from typing import Final

PACKAGES: Final = {"csi": "CSI 0.1", "csi.v0": "CSI 0.2 or 0.3"}

PROBES: Final = ("/csi.v0.Identity/GetPluginInfo", "/csi.Identity/GetSupportedVersions")
"""Methods to call with an empty request: a peer that knows one is of that generation."""


def package_of(path: str) -> str:
    """The package in a method path: `csi.v0` for `/csi.v0.Identity/Probe`."""
    return path.removeprefix("/").partition("/")[0].rpartition(".")[0]


def refusal_to_caller(path: str) -> str:
    """What a server of CSI 1.x answers to a method that it does not know."""
    package = package_of(path)
    if package in PACKAGES:
        return (
            f"the caller speaks {PACKAGES[package]} (package {package}) and this driver speaks CSI 1.x "
            "(package csi.v1); upgrade the caller"
        )
    if package == "csi.v1":
        return f"{path} is not an RPC of CSI 1.13, the version that this driver speaks"
    return f"{path} is not served here; this is the socket of a CSI driver (package csi.v1)"


def refusal_of_driver(where: str, probe: str) -> str:
    """What a client says of a driver that answered this one of PROBES."""
    package = package_of(probe)
    return (
        f"the driver at {where} speaks {PACKAGES[package]} (package {package}); Moorage needs CSI 1.0 or "
        "newer, so upgrade the driver"
    )


def no_driver(where: str) -> str:
    """What a client says of a peer that knows no Identity service of any generation."""
    return f"what listens at {where} does not serve csi.v1.Identity, so it is no CSI driver; check the address"
