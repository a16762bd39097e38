"""Fields that a driver takes only if it declares something, and the secrets that come with a request."""

from __future__ import annotations

from typing import Final

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import (
    ControllerCapability,
    PluginCapability,
    Secrets,
    SnapshotSource,
    Topology,
    TopologyRequirement,
    VolumeSource,
)
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Facility, Severity, Skipped, rule

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
CLONE = ControllerCapability.CLONE_VOLUME
MODIFY = ControllerCapability.MODIFY_VOLUME
PLACES = PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS

_SNAPSHOTS: Final = {
    ControllerCapability.CREATE_DELETE_SNAPSHOT,
    ControllerCapability.LIST_SNAPSHOTS,
    ControllerCapability.GET_SNAPSHOT,
}


@rule(
    "validation.undeclared-source",
    section="CreateVolume",
    title="a kind of content source that the driver does not declare makes no volume",
    sends="CreateVolume with a volume as source without CLONE_VOLUME, with a snapshot without any snapshot RPC",
    demands="INVALID_ARGUMENT (or NOT_FOUND for the snapshot): an empty volume would pass for a copy",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def undeclared_source(lab: Lab) -> None:
    asked = False
    if not lab.has(CLONE):
        asked = True
        source = await lab.create()
        exchange = await lab.settle(lab.create_request(volume_content_source=VolumeSource(source.volume_id)))
        exchange.refused(Code.INVALID_ARGUMENT, why="the driver does not declare CLONE_VOLUME")
    if not (lab.declared.controller & _SNAPSHOTS or lab.declared.group):
        asked = True
        exchange = await lab.settle(lab.create_request(volume_content_source=SnapshotSource(lab.name("unknown"))))
        exchange.refused(Code.INVALID_ARGUMENT, Code.NOT_FOUND, why="the driver has no snapshots")
    if not asked:
        raise Skipped("the driver declares clones and snapshots")


@rule(
    "validation.undeclared-readonly",
    section="ControllerPublishVolume",
    title="readonly is refused by a driver that cannot attach read-only",
    sends="ControllerPublishVolume with readonly=true to a driver without PUBLISH_READONLY",
    demands="INVALID_ARGUMENT: the volume would be attached writable",
    severity=Severity.SHOULD,
    needs=(CREATE, ControllerCapability.PUBLISH_UNPUBLISH_VOLUME),
    danger=(Danger.CREATES,),
)
async def undeclared_readonly(lab: Lab) -> None:
    if lab.has(ControllerCapability.PUBLISH_READONLY):
        raise Skipped("the driver declares PUBLISH_READONLY")
    volume = await lab.create()
    exchange = await lab.settle(
        m.ControllerPublishVolumeRequest(
            volume.volume_id,
            lab.peer.node.node_id,
            lab.capability(),
            readonly=True,
            volume_context=volume.volume_context,
        )
    )
    exchange.refused(Code.INVALID_ARGUMENT, why="the driver does not declare PUBLISH_READONLY")


@rule(
    "validation.undeclared-topology",
    section="CreateVolume",
    title="a topology requirement is refused by a driver without topology",
    sends="CreateVolume with accessibility_requirements to a driver without VOLUME_ACCESSIBILITY_CONSTRAINTS",
    demands="INVALID_ARGUMENT: the requirement would be ignored",
    severity=Severity.SHOULD,
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def undeclared_topology(lab: Lab) -> None:
    if lab.has(PLACES):
        raise Skipped("the driver declares VOLUME_ACCESSIBILITY_CONSTRAINTS")
    place = Topology({"topology.verify.moorage.dev/zone": "nowhere"})
    exchange = await lab.settle(lab.create_request(accessibility_requirements=TopologyRequirement((place,))))
    exchange.refused(Code.INVALID_ARGUMENT, why="the driver does not declare VOLUME_ACCESSIBILITY_CONSTRAINTS")


@rule(
    "validation.undeclared-mutable-parameters",
    section="CreateVolume",
    title="mutable parameters are refused by a driver that cannot modify volumes",
    sends="CreateVolume with mutable_parameters to a driver without MODIFY_VOLUME",
    demands="INVALID_ARGUMENT: they would be ignored",
    severity=Severity.SHOULD,
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def undeclared_mutable_parameters(lab: Lab) -> None:
    if lab.has(MODIFY):
        raise Skipped("the driver declares MODIFY_VOLUME")
    mutable = dict(lab.settings.mutable_parameters) or {"verify": "1"}
    exchange = await lab.settle(lab.create_request(mutable_parameters=mutable))
    exchange.refused(Code.INVALID_ARGUMENT, why="the driver does not declare MODIFY_VOLUME")


@rule(
    "validation.unknown-secrets",
    section="Secrets Requirements",
    title="secrets that an RPC does not know are ignored",
    sends="CreateVolume, ValidateVolumeCapabilities and DeleteVolume with a secret beside those of the run",
    demands="OK: an orchestrator may send one set of secrets to all RPCs",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def unknown_secrets(lab: Lab) -> None:
    more = {"verify.unknown-key": "not-used"}
    create = lab.create_request(secrets=Secrets(lab.secrets("CreateVolume") | more))
    volume = (await lab.settle(create)).response(m.CreateVolumeResponse).volume
    validate = m.ValidateVolumeCapabilitiesRequest(
        volume.volume_id, (lab.capability(),), secrets=Secrets(lab.secrets("ValidateVolumeCapabilities") | more)
    )
    (await lab.settle(validate)).response(m.ValidateVolumeCapabilitiesResponse)
    delete = m.DeleteVolumeRequest(volume.volume_id, secrets=Secrets(lab.secrets("DeleteVolume") | more))
    (await lab.settle(delete)).response(m.DeleteVolumeResponse)


@rule(
    "validation.wrong-secrets",
    section="Error Scheme",
    title="secrets that do not authenticate are reported as that",
    sends="CreateVolume with the right names of the run's secrets and wrong values",
    demands="UNAUTHENTICATED or PERMISSION_DENIED; a driver that makes the volume uses no secrets here",
    needs=(CREATE, Facility.SECRETS),
    danger=(Danger.CREATES,),
)
async def wrong_secrets(lab: Lab) -> None:
    wrong = {key: f"verify-wrong-{lab.random.getrandbits(64):x}" for key in lab.secrets("CreateVolume")}
    if not wrong:
        raise Skipped("--secrets has none for CreateVolume")
    exchange = await lab.settle(lab.create_request(secrets=wrong))
    if exchange.ok:
        raise Skipped("CreateVolume succeeds with wrong secrets, so it uses none")
    exchange.refused(Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, why="the secrets were wrong")
