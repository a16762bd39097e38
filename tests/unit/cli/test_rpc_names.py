from __future__ import annotations

from itertools import combinations

import pytest

from moorage.cli.rpc_names import find_method, find_rpc, find_service, kebab, methods_of, names_of, short_name
from moorage.spec.rules import RPCS, SERVICES, Service


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("identity", "Identity"),
        ("i", "Identity"),
        ("Ident", "Identity"),
        ("c", "Controller"),
        ("CONTROLLER", "Controller"),
        ("n", "Node"),
        ("node", "Node"),
        ("g", "GroupController"),
        ("group", "GroupController"),
        ("GroupController", "GroupController"),
        ("group-controller", "GroupController"),
        ("m", "SnapshotMetadata"),
        ("snapshot_metadata", "SnapshotMetadata"),
        ("csi.v1.Node", "Node"),
        ("nod", None),
        ("", None),
    ],
)
def test_services_go_by_their_names_and_aliases(name: str, service: Service | None) -> None:
    assert find_service(name) == service


CSC_COMMANDS = [
    ("i", "plugin-info", "GetPluginInfo"),
    ("i", "info", "GetPluginInfo"),
    ("i", "plugin-capabilities", "GetPluginCapabilities"),
    ("i", "caps", "GetPluginCapabilities"),
    ("i", "probe", "Probe"),
    *[("c", name, "CreateVolume") for name in ("create-volume", "n", "c", "new", "create")],
    *[("c", name, "DeleteVolume") for name in ("delete-volume", "d", "rm", "del", "delete")],
    *[("c", name, "ListVolumes") for name in ("list-volumes", "ls", "list", "volumes")],
    *[("c", name, "ControllerPublishVolume") for name in ("publish", "attach")],
    *[("c", name, "ControllerUnpublishVolume") for name in ("unpublish", "detach")],
    *[("c", name, "ValidateVolumeCapabilities") for name in ("validate-volume-capabilities", "validate")],
    *[("c", name, "GetCapacity") for name in ("get-capacity", "capacity")],
    *[("c", name, "ControllerGetCapabilities") for name in ("get-capabilities", "capabilities")],
    *[("c", name, "ControllerExpandVolume") for name in ("expand-volume", "exp", "expand")],
    *[("c", name, "CreateSnapshot") for name in ("create-snapshot", "s", "snap")],
    *[("c", name, "DeleteSnapshot") for name in ("delete-snapshot", "ds", "delsnap")],
    *[("c", name, "ListSnapshots") for name in ("list-snapshots", "sl", "snap-list", "snapshots")],
    *[("n", name, "NodeGetInfo") for name in ("get-info", "info")],
    *[("n", name, "NodeGetCapabilities") for name in ("get-capabilities", "capabilities")],
    ("n", "stage", "NodeStageVolume"),
    ("n", "unstage", "NodeUnstageVolume"),
    *[("n", name, "NodePublishVolume") for name in ("publish", "mnt", "mount")],
    *[("n", name, "NodeUnpublishVolume") for name in ("unpublish", "umount", "unmount")],
    *[("n", name, "NodeExpandVolume") for name in ("expand-volume", "exp", "expand")],
    ("n", "stats", "NodeGetVolumeStats"),
]


@pytest.mark.parametrize(("service", "command", "rpc_name"), CSC_COMMANDS)
def test_every_command_of_csc_is_known(service: str, command: str, rpc_name: str) -> None:
    found_service = find_service(service)
    assert found_service is not None
    found = find_method(found_service, command)
    assert found is not None
    assert found.name == rpc_name


@pytest.mark.parametrize("rpc_name", RPCS)
def test_every_rpc_goes_by_camel_case_and_kebab_case(rpc_name: str) -> None:
    rpc = RPCS[rpc_name]
    for name in (rpc.name, rpc.name.lower(), kebab(rpc.name), short_name(rpc), short_name(rpc).replace("-", "_")):
        assert find_method(rpc.service, name) is rpc
    assert find_rpc(rpc.name) is rpc
    assert find_rpc(kebab(rpc.name)) is rpc
    assert find_rpc(rpc.path) is rpc
    assert find_rpc(rpc.path.removeprefix("/")) is rpc
    assert find_rpc(f"{rpc.service}/{rpc.name}") is rpc


def test_no_name_means_two_methods_of_one_service() -> None:
    for service in SERVICES:
        for one, other in combinations(methods_of(service), 2):
            plain = [{name.replace("-", "").lower() for name in names_of(rpc)} for rpc in (one, other)]
            assert not plain[0] & plain[1], (one.name, other.name)


def test_a_method_of_another_service_is_not_found() -> None:
    assert find_method("Node", "create-volume") is None
    assert find_rpc("Node/CreateVolume") is None
    assert find_rpc("NoSuchCall") is None
