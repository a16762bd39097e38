"""ReferenceGrant, VolumePopulator and SnapshotMetadataService: small kinds from CustomResourceDefinitions.

Source: gateway.networking.k8s.io/v1beta1, populator.storage.k8s.io/v1beta1, cbt.storage.k8s.io/v1beta1.
"""

from __future__ import annotations

import msgspec

from moorage.kube.objects.meta import ApiStruct, ObjectMeta

__all__ = [
    "GrantFrom",
    "GrantSpec",
    "GrantTo",
    "ReferenceGrant",
    "SnapshotMetadataService",
    "SnapshotMetadataServiceSpec",
    "SourceKind",
    "VolumePopulator",
]


class GrantFrom(ApiStruct, frozen=True):
    """Who may refer to objects in the namespace of the grant."""

    group: str = ""
    kind: str = ""
    namespace: str = ""


class GrantTo(ApiStruct, frozen=True):
    """What may be referred to; without a name, all objects of the kind."""

    group: str = ""
    kind: str = ""
    name: str | None = None


class GrantSpec(ApiStruct, frozen=True):
    """The references that are allowed: any of `from_` to any of `to`."""

    from_: tuple[GrantFrom, ...] = msgspec.field(default=(), name="from")
    to: tuple[GrantTo, ...] = ()


class ReferenceGrant(ApiStruct, frozen=True):
    """Allows references from other namespaces into its own."""

    metadata: ObjectMeta = ObjectMeta()
    spec: GrantSpec = GrantSpec()


class SourceKind(ApiStruct, frozen=True):
    """A kind of object that volumes can be filled from."""

    group: str = ""
    kind: str = ""


class VolumePopulator(ApiStruct, frozen=True):
    """Says that some controller fills volumes from objects of a kind."""

    metadata: ObjectMeta = ObjectMeta()
    source_kind: SourceKind = SourceKind()


class SnapshotMetadataServiceSpec(ApiStruct, frozen=True):
    """Where the snapshot metadata service of a driver is; `ca_cert` is base64."""

    address: str = ""
    audience: str = ""
    ca_cert: str = ""


class SnapshotMetadataService(ApiStruct, frozen=True):
    """The snapshot metadata service of the driver that the object is named after."""

    metadata: ObjectMeta = ObjectMeta()
    spec: SnapshotMetadataServiceSpec = SnapshotMetadataServiceSpec()
