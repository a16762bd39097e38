"""Requests that lack a required field: every RPC refuses them with INVALID_ARGUMENT.

The requests name objects that do not exist, so nothing can come to harm. Where a request has two faults, a
missing field and an unknown object, the specification does not say which one is reported: the rules about
single RPCs accept both answers, and the order is a rule of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from moorage.spec.errors import Code
from moorage.spec.rules import RPCS, Rpc
from moorage.spec.types import (
    ControllerCapability,
    GroupControllerCapability,
    NodeCapability,
)
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Failed, Need, Rule, Severity, Skipped, rule
from moorage.verify.samples import CHANGING, CREATING, open_rpcs, sample

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
SNAPSHOT = ControllerCapability.CREATE_DELETE_SNAPSHOT
GROUPS = GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT

_LEFT_OPEN = frozenset({"DeleteVolumeGroupSnapshot", "GetVolumeGroupSnapshot"})
"""RPCs whose `snapshot_ids` cannot be judged while the group is unknown: OK and NOT_FOUND are due as well."""


def _offered(lab: Lab, names: Sequence[str], volume_id: str = "") -> Mapping[Rpc, Struct]:
    """Whole requests of those of the RPCs that the driver offers and that may be made. Raises Skipped when none is."""
    allowed = [name for name in names if not (lab.read_only and name in CHANGING)]
    found = {rpc: sample(lab, rpc, any_id=volume_id) for rpc in open_rpcs(lab) if rpc.name in allowed}
    if not found:
        raise Skipped(
            f"the driver offers none of {', '.join(allowed)}" if allowed else "--read-only: these RPCs change"
        )
    return found


def _without(request: Struct, field: str) -> Struct:
    value: Any = getattr(request, field)
    empty = None if isinstance(value, Struct) else type(value)()
    return msgspec.structs.replace(request, **{field: empty})


def _leading(rpc: Rpc) -> str:
    """The field without which no object can be looked for, so that nothing but its absence can be reported."""
    return "name" if rpc.name == "CreateVolume" else rpc.id_fields[0]


class _Faults:
    """Wrong answers of one rule: one report for all of them, with the first as evidence."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Exchange]] = []

    async def judge(self, lab: Lab, request: Struct, field: str, codes: Sequence[Code]) -> None:
        exchange = await lab.call(_without(request, field))
        if exchange.code not in (*codes, Code.ABORTED):
            self.found.append((f"{exchange.rpc.name} without {field} answered {exchange.described()}", exchange))

    def report(self) -> None:
        """Raises Failed when there was any."""
        if self.found:
            texts = "; ".join(text for text, _ in self.found)
            raise Failed(f"a missing required field must be refused with INVALID_ARGUMENT: {texts}", self.found[0][1])


def _fields_rule(rule_id: str, *names: str, needs: tuple[Need | tuple[Need, ...], ...], what: str) -> Rule:
    """The rule that each of these RPCs refuses requests that lack a required field."""

    @rule(
        rule_id,
        section="Error Scheme",
        title=f"{what} without a required field are refused",
        sends=f"{', '.join(names)}, as far as offered, each required field left out in turn, for unknown objects",
        demands="INVALID_ARGUMENT; NOT_FOUND as well where the request still names an object that does not exist",
        needs=needs,
        danger=(Danger.CREATES,) if CREATING.intersection(names) else (),
    )
    async def examine(lab: Lab) -> None:
        faults = _Faults()
        for rpc, request in _offered(lab, names).items():
            for field in rpc.required:
                if field == "snapshot_ids" and rpc.name in _LEFT_OPEN:
                    continue
                also = () if field == _leading(rpc) or rpc.name == "CreateVolume" else (Code.NOT_FOUND,)
                await faults.judge(lab, request, field, (Code.INVALID_ARGUMENT, *also))
        faults.report()

    return examine


create_fields = _fields_rule(
    "validation.create-fields",
    "CreateVolume",
    needs=(CREATE,),
    what="requests for new volumes",
)
volume_fields = _fields_rule(
    "validation.volume-fields",
    "DeleteVolume",
    "ValidateVolumeCapabilities",
    "ControllerGetVolume",
    "ControllerGetVolumeHealth",
    "ControllerExpandVolume",
    "ControllerModifyVolume",
    needs=("Controller",),
    what="requests about a volume",
)
attach_fields = _fields_rule(
    "validation.attach-fields",
    "ControllerPublishVolume",
    "ControllerUnpublishVolume",
    needs=(ControllerCapability.PUBLISH_UNPUBLISH_VOLUME,),
    what="requests to attach and detach",
)
snapshot_fields = _fields_rule(
    "validation.snapshot-fields",
    "CreateSnapshot",
    "DeleteSnapshot",
    "GetSnapshot",
    needs=((SNAPSHOT, ControllerCapability.GET_SNAPSHOT),),
    what="requests about snapshots",
)
group_fields = _fields_rule(
    "validation.group-fields",
    "CreateVolumeGroupSnapshot",
    "DeleteVolumeGroupSnapshot",
    "GetVolumeGroupSnapshot",
    needs=(GROUPS,),
    what="requests about group snapshots",
)
metadata_fields = _fields_rule(
    "validation.metadata-fields",
    "GetMetadataAllocated",
    "GetMetadataDelta",
    needs=("SnapshotMetadata",),
    what="requests for changed blocks",
)
mount_fields = _fields_rule(
    "validation.mount-fields",
    "NodeStageVolume",
    "NodeUnstageVolume",
    "NodePublishVolume",
    "NodeUnpublishVolume",
    needs=("Node",),
    what="requests to bring a volume to a node and take it away",
)
node_volume_fields = _fields_rule(
    "validation.node-volume-fields",
    "NodeGetVolumeStats",
    "NodeExpandVolume",
    "NodeGetVolumeHealth",
    needs=(
        "Node",
        (NodeCapability.GET_VOLUME_STATS, NodeCapability.EXPAND_VOLUME, NodeCapability.GET_VOLUME_HEALTH),
    ),
    what="requests about a volume on its node",
)

_ABOUT_VOLUMES = (
    "ControllerPublishVolume",
    "ValidateVolumeCapabilities",
    "ControllerExpandVolume",
    "ControllerModifyVolume",
    "CreateSnapshot",
    "CreateVolumeGroupSnapshot",
)


@rule(
    "validation.fields-of-known-volume",
    section="Error Scheme",
    title="a missing field is refused for a volume that exists",
    sends="each controller RPC about a volume that exists, each of its other required fields left out in turn",
    demands="INVALID_ARGUMENT",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def fields_of_known_volume(lab: Lab) -> None:
    volume = await lab.create()
    faults = _Faults()
    for rpc, request in _offered(lab, _ABOUT_VOLUMES, volume.volume_id).items():
        for field in rpc.required:
            if field != _leading(rpc):
                await faults.judge(lab, request, field, (Code.INVALID_ARGUMENT,))
    faults.report()


@rule(
    "validation.fields-before-lookup",
    section="Error Scheme",
    title="a missing field is reported before an unknown object",
    sends="RPCs about a volume that does not exist, each of their other required fields left out in turn",
    demands="INVALID_ARGUMENT: what is wrong with a request does not depend on what exists; csi-sanity wants it so",
    severity=Severity.SHOULD,
)
async def fields_before_lookup(lab: Lab) -> None:
    faults = _Faults()
    names = [rpc.name for rpc in RPCS.values() if rpc.required and rpc.id_fields and rpc.name not in _LEFT_OPEN]
    for rpc, request in _offered(lab, names).items():
        for field in rpc.required:
            if field != _leading(rpc):
                await faults.judge(lab, request, field, (Code.INVALID_ARGUMENT,))
    faults.report()
