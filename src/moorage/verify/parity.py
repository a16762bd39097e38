"""The cases of csi-sanity 5.6.0, each with the rules that fail whenever it rightly fails.

Data only; the documentation shows it, and a test holds it against csi-sanity's own list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["CASES"]

CASES: Final[Mapping[str, tuple[str, ...]]] = {
    "Controller Service [Controller Server] ControllerGetCapabilities should return appropriate capabilities": (
        "wire.capabilities-known",
    ),
    "Controller Service [Controller Server] ControllerPublishVolume should fail when no node id is provided": (
        "validation.attach-fields",
        "validation.fields-before-lookup",
        "validation.fields-of-known-volume",
    ),
    "Controller Service [Controller Server] ControllerPublishVolume should fail when no volume capability is provided": (
        "validation.attach-fields",
        "validation.fields-before-lookup",
        "validation.fields-of-known-volume",
    ),
    "Controller Service [Controller Server] ControllerPublishVolume should fail when no volume id is provided": (
        "validation.attach-fields",
    ),
    "Controller Service [Controller Server] ControllerPublishVolume should fail when publishing more volumes than the node max attach limit": (
        "publish.attach-limit",
    ),
    "Controller Service [Controller Server] ControllerPublishVolume should fail when the node does not exist": (
        "publish.unknown-node",
    ),
    "Controller Service [Controller Server] ControllerPublishVolume should fail when the volume does not exist": (
        "publish.unknown-volume",
    ),
    "Controller Service [Controller Server] ControllerPublishVolume should fail when the volume is already published but is incompatible": (
        "publish.other-readonly",
    ),
    "Controller Service [Controller Server] ControllerUnpublishVolume should fail when no volume id is provided": (
        "validation.attach-fields",
    ),
    "Controller Service [Controller Server] CreateVolume should create volume from an existing source snapshot": (
        "create.source-echoed",
    ),
    "Controller Service [Controller Server] CreateVolume should create volume from an existing source volume": (
        "create.source-echoed",
    ),
    "Controller Service [Controller Server] CreateVolume should create volume with a volume attribute class": (
        "create.mutable-parameters",
    ),
    "Controller Service [Controller Server] CreateVolume should fail when no name is provided": (
        "validation.create-fields",
    ),
    "Controller Service [Controller Server] CreateVolume should fail when no volume capabilities are provided": (
        "validation.create-fields",
    ),
    "Controller Service [Controller Server] CreateVolume should fail when requesting to create a volume with already existing name and different capacity": (
        "create.same-name-other-size",
    ),
    "Controller Service [Controller Server] CreateVolume should fail when the volume source snapshot is not found": (
        "create.missing-source",
    ),
    "Controller Service [Controller Server] CreateVolume should fail when the volume source volume is not found": (
        "create.missing-source",
    ),
    "Controller Service [Controller Server] CreateVolume should not create volume with an invalid volume attribute class": (
        "create.unknown-mutable-parameter",
    ),
    "Controller Service [Controller Server] CreateVolume should not fail when creating volume with maximum-length name": (
        "create.longest-name",
    ),
    "Controller Service [Controller Server] CreateVolume should not fail when requesting to create a volume with already existing name and same capacity": (
        "create.replay-same-answer",
    ),
    "Controller Service [Controller Server] CreateVolume should return appropriate values SingleNodeWriter NoCapacity": (
        "create.no-range",
        "create.required-size",
    ),
    "Controller Service [Controller Server] CreateVolume should return appropriate values SingleNodeWriter WithCapacity 1Gi": (
        "create.required-size",
    ),
    "Controller Service [Controller Server] DeleteVolume should fail when no volume id is provided": (
        "validation.volume-fields",
    ),
    "Controller Service [Controller Server] DeleteVolume should return appropriate values (no optional values added)": (
        "delete.twice",
    ),
    "Controller Service [Controller Server] DeleteVolume should succeed when an invalid volume id is used": (
        "delete.unknown-volume",
    ),
    "Controller Service [Controller Server] GetCapacity should return capacity (no optional values added)": (
        "capacity.sound",
    ),
    "Controller Service [Controller Server] ListVolumes check the presence of new volumes and absence of deleted ones in the volume list": (
        "listing.deleted-volume-is-not-listed",
        "listing.new-volume-is-listed",
    ),
    "Controller Service [Controller Server] ListVolumes pagination should detect volumes added between pages and accept tokens when the last volume from a page is deleted": (
        "listing.volume-pages",
        "listing.volume-pages-survive-deletion",
        "listing.volume-token-after-deletion",
    ),
    "Controller Service [Controller Server] ListVolumes should fail when an invalid starting_token is passed": (
        "listing.volume-invalid-token",
    ),
    "Controller Service [Controller Server] ListVolumes should return appropriate values (no optional values added)": (
        "listing.new-volume-is-listed",
        "listing.volume-agrees-with-create",
    ),
    "Controller Service [Controller Server] ValidateVolumeCapabilities should fail when no volume capabilities are provided": (
        "validation.fields-before-lookup",
        "validation.fields-of-known-volume",
    ),
    "Controller Service [Controller Server] ValidateVolumeCapabilities should fail when no volume id is provided": (
        "validation.volume-fields",
    ),
    "Controller Service [Controller Server] ValidateVolumeCapabilities should fail when the requested volume does not exist": (
        "validation.unknown-volume",
    ),
    "Controller Service [Controller Server] ValidateVolumeCapabilities should return appropriate values (no optional values added)": (
        "validation.confirmed",
    ),
    "Controller Service [Controller Server] volume lifecycle should be idempotent": (
        "publish.again-after-unpublish",
        "publish.replay-same-context",
        "publish.unpublish-deleted-volume",
        "publish.unpublish-twice",
    ),
    "Controller Service [Controller Server] volume lifecycle should work": ("publish.again-after-unpublish",),
    "ControllerGetVolumeHealth [Controller Server] should fail when no volume id is provided": (
        "validation.volume-fields",
    ),
    "ControllerGetVolumeHealth [Controller Server] should return health for a valid volume": ("health.controller-get",),
    "ControllerListVolumeHealth [Controller Server] should return appropriate response": ("health.list",),
    "CreateSnapshot [Controller Server] should fail when no name is provided": (
        "validation.fields-before-lookup",
        "validation.fields-of-known-volume",
        "validation.snapshot-fields",
    ),
    "CreateSnapshot [Controller Server] should fail when no source volume id is provided": (
        "validation.snapshot-fields",
    ),
    "CreateSnapshot [Controller Server] should fail when requesting to create a snapshot with already existing name and different source volume ID": (
        "snapshots.name-of-other-source",
    ),
    "CreateSnapshot [Controller Server] should succeed when creating a snapshot with accessibility requirements": (
        "snapshots.topology-honoured",
    ),
    "CreateSnapshot [Controller Server] should succeed when creating snapshot with maximum-length name": (
        "snapshots.long-names-differ",
    ),
    "CreateSnapshot [Controller Server] should succeed when requesting to create a snapshot with already existing name and same source volume ID": (
        "snapshots.replay-same-answer",
    ),
    "DeleteSnapshot [Controller Server] should fail when no snapshot id is provided": ("validation.snapshot-fields",),
    "DeleteSnapshot [Controller Server] should return appropriate values (no optional values added)": (
        "snapshots.delete-is-idempotent",
    ),
    "DeleteSnapshot [Controller Server] should succeed when an invalid snapshot id is used": (
        "snapshots.delete-is-idempotent",
    ),
    "ExpandVolume [Controller Server] should fail if no capacity range is given": (
        "validation.fields-before-lookup",
        "validation.fields-of-known-volume",
    ),
    "ExpandVolume [Controller Server] should fail if no volume id is given": ("validation.volume-fields",),
    "ExpandVolume [Controller Server] should work": ("expansion.grows", "expansion.limit-kept"),
    "GetSnapshot [Controller Server] should return an error": ("validation.snapshot-fields",),
    "GetSnapshot [Controller Server] should return an error when the specified snapshot id does not exist": (
        "snapshots.get-unknown",
    ),
    "GetSnapshot [Controller Server] should return snapshot that match the specified snapshot id": ("snapshots.get",),
    "GroupController Service [GroupController Server] GroupControllerGetCapabilities should return appropriate capabilities": (
        "wire.capabilities-agree",
        "wire.capabilities-known",
        "wire.sound-responses",
    ),
    "GroupController Service [GroupController VolumeGroupSnapshots] CreateVolumeGroupSnapshot should fail when no name is provided": (
        "validation.fields-before-lookup",
        "validation.fields-of-known-volume",
        "validation.group-fields",
    ),
    "GroupController Service [GroupController VolumeGroupSnapshots] DeleteVolumeGroupSnapshot should fail when no volume id is provided": (
        "validation.group-fields",
    ),
    "GroupController Service [GroupController VolumeGroupSnapshots] DeleteVolumeGroupSnapshot should succeed when an invalid volume id is used": (
        "groups.delete-is-idempotent",
    ),
    "GroupController Service [GroupController VolumeGroupSnapshots] GetVolumeGroupSnapshot should fail when an invalid volume id is used": (
        "groups.get-unknown",
    ),
    "GroupController Service [GroupController VolumeGroupSnapshots] GetVolumeGroupSnapshot should fail when no volume id is provided": (
        "validation.group-fields",
    ),
    "Identity Service GetPluginCapabilities should return appropriate capabilities": (
        "wire.capabilities-agree",
        "wire.capabilities-known",
    ),
    "Identity Service GetPluginInfo should return appropriate information": (
        "wire.plugin-info",
        "wire.plugin-name-letters",
    ),
    "Identity Service Probe should return appropriate information": ("wire.probe",),
    "ListSnapshots [Controller Server] check the presence of new snapshots in the snapshot list": (
        "listing.deleted-snapshot-is-not-listed",
        "listing.new-snapshot-is-listed",
    ),
    "ListSnapshots [Controller Server] should return appropriate values (no optional values added)": (
        "listing.new-snapshot-is-listed",
        "listing.snapshot-agrees-with-create",
    ),
    "ListSnapshots [Controller Server] should return empty when the specified snapshot id does not exist": (
        "listing.snapshot-by-id",
    ),
    "ListSnapshots [Controller Server] should return empty when the specified source volume id does not exist": (
        "listing.snapshot-by-source",
    ),
    "ListSnapshots [Controller Server] should return next token when a limited number of entries are requested": (
        "listing.snapshot-page-size",
        "listing.snapshot-pages",
    ),
    "ListSnapshots [Controller Server] should return snapshots that match the specified snapshot id": (
        "listing.snapshot-by-id",
    ),
    "ListSnapshots [Controller Server] should return snapshots that match the specified source volume id": (
        "listing.snapshot-by-source",
    ),
    "ModifyVolume [Controller Server] should fail if no volume id is given": ("validation.volume-fields",),
    "ModifyVolume [Controller Server] should fail if specified mutable parameters are not supported by the volume": (
        "modify.unknown-parameter",
    ),
    "ModifyVolume [Controller Server] should fail if volume does not exist": ("modify.unknown-volume",),
    "ModifyVolume [Controller Server] should fail to modify a volume created with a volume attribute class if new mutable parameters are not supported by volume": (
        "modify.all-or-nothing",
        "modify.unknown-parameter",
    ),
    "ModifyVolume [Controller Server] should modify a volume created with a volume attribute class": (
        "modify.changes",
    ),
    "ModifyVolume [Controller Server] should modify a volume created without a volume attribute class": (
        "modify.changes",
    ),
    "Node Service NodeExpandVolume should fail when no volume id is provided": ("validation.node-volume-fields",),
    "Node Service NodeExpandVolume should fail when no volume path is provided": (
        "validation.fields-before-lookup",
        "validation.node-volume-fields",
    ),
    "Node Service NodeExpandVolume should fail when volume is not found": ("expansion.node-unknown-volume",),
    "Node Service NodeExpandVolume should work if node-expand is called after node-publish": (
        "expansion.block-grows",
        "expansion.mount-grows",
        "expansion.node-without-growth",
    ),
    "Node Service NodeGetCapabilities should return appropriate capabilities": ("wire.capabilities-known",),
    "Node Service NodeGetInfo should return appropriate values": ("node.info", "node.info-topology"),
    "Node Service NodeGetStorageHealth should return appropriate response": ("health.node-storage",),
    "Node Service NodeGetVolumeHealth should fail when no volume id is provided": ("validation.node-volume-fields",),
    "Node Service NodeGetVolumeHealth should return health for a valid volume": ("health.node-get",),
    "Node Service NodeGetVolumeStats should fail when no volume id is provided": ("validation.node-volume-fields",),
    "Node Service NodeGetVolumeStats should fail when no volume path is provided": (
        "validation.fields-before-lookup",
        "validation.node-volume-fields",
    ),
    "Node Service NodeGetVolumeStats should fail when volume does not exist on the specified path": (
        "node.stats-after-unpublish",
        "node.stats-wrong-path",
    ),
    "Node Service NodeGetVolumeStats should fail when volume is not found": ("node.stats-unknown-volume",),
    "Node Service NodePublishVolume should fail when no target path is provided": (
        "validation.fields-before-lookup",
        "validation.mount-fields",
    ),
    "Node Service NodePublishVolume should fail when no volume capability is provided": (
        "validation.fields-before-lookup",
        "validation.mount-fields",
    ),
    "Node Service NodePublishVolume should fail when no volume id is provided": ("validation.mount-fields",),
    "Node Service NodePublishVolume with single node multi writer capability should fail when volume with single node single writer access mode is already mounted at a different target path": (
        "node.second-target-single-writer",
    ),
    "Node Service NodeStageVolume should fail when no staging target path is provided": (
        "validation.fields-before-lookup",
        "validation.mount-fields",
    ),
    "Node Service NodeStageVolume should fail when no volume capability is provided": (
        "validation.fields-before-lookup",
        "validation.mount-fields",
    ),
    "Node Service NodeStageVolume should fail when no volume id is provided": ("validation.mount-fields",),
    "Node Service NodeUnpublishVolume should fail when no target path is provided": (
        "validation.fields-before-lookup",
        "validation.mount-fields",
    ),
    "Node Service NodeUnpublishVolume should fail when no volume id is provided": ("validation.mount-fields",),
    "Node Service NodeUnpublishVolume should remove target path": ("node.unpublish-removes-target",),
    "Node Service NodeUnstageVolume should fail when no staging target path is provided": (
        "validation.fields-before-lookup",
        "validation.mount-fields",
    ),
    "Node Service NodeUnstageVolume should fail when no volume id is provided": ("validation.mount-fields",),
    "Node Service should be idempotent": (
        "node.publish-twice",
        "node.stage-twice",
        "node.stats-told",
        "node.unpublish-twice",
        "node.unstage-twice",
    ),
    "Node Service should work": (
        "node.data-survives-republish",
        "node.target-is-a-mount",
        "node.unstage-undoes-staging",
    ),
}
