"""Access modes: what one mode gives of another, and what a second publish of a volume means.

A mode is a floor, the access that the storage must be able to give; `readonly` is a ceiling of its own.
The tables are those of the specification for NodePublishVolume and ControllerPublishVolume. Nothing here
knows how a volume is published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct

from moorage.spec.errors import AlreadyExists, FailedPrecondition
from moorage.spec.messages import ControllerPublishVolumeRequest, NodePublishVolumeRequest
from moorage.spec.sealing import sealed
from moorage.spec.types import AccessMode, VolumeCapability

SecondPublish = Literal["ok", "already-exists", "failed-precondition"]

_SINGLE_NODE_WRITERS = frozenset({AccessMode.SINGLE_NODE_WRITER, AccessMode.SINGLE_NODE_SINGLE_WRITER})
_SINGLE_NODE_READER = frozenset({AccessMode.SINGLE_NODE_READER_ONLY})
_SINGLE_NODE = _SINGLE_NODE_WRITERS | _SINGLE_NODE_READER
_READERS = _SINGLE_NODE_READER | {AccessMode.MULTI_NODE_READER_ONLY}

_GIVES: Final[Mapping[AccessMode, frozenset[AccessMode]]] = {
    AccessMode.SINGLE_NODE_READER_ONLY: _SINGLE_NODE_READER,
    AccessMode.SINGLE_NODE_WRITER: _SINGLE_NODE,
    AccessMode.SINGLE_NODE_SINGLE_WRITER: _SINGLE_NODE,
    AccessMode.SINGLE_NODE_MULTI_WRITER: _SINGLE_NODE | {AccessMode.SINGLE_NODE_MULTI_WRITER},
    AccessMode.MULTI_NODE_READER_ONLY: _READERS,
    AccessMode.MULTI_NODE_SINGLE_WRITER: frozenset(AccessMode)
    - {AccessMode.UNKNOWN, AccessMode.MULTI_NODE_MULTI_WRITER},
    AccessMode.MULTI_NODE_MULTI_WRITER: frozenset(AccessMode) - {AccessMode.UNKNOWN},
}

_MULTI_NODE = frozenset(
    {
        AccessMode.MULTI_NODE_READER_ONLY,
        AccessMode.MULTI_NODE_SINGLE_WRITER,
        AccessMode.MULTI_NODE_MULTI_WRITER,
    }
)

ORCHESTRATOR_CONTEXT: Final = ("csi.storage.k8s.io/", "storage.kubernetes.io/")
"""Prefixes of volume_context keys that Kubernetes adds, and that differ from Pod to Pod."""


def is_multi_node(mode: AccessMode) -> bool:
    """Whether the mode lets several nodes have the volume at once."""
    return mode in _MULTI_NODE


def is_reader_only(mode: AccessMode) -> bool:
    """Whether the mode gives nobody the right to write."""
    return mode in _READERS


def satisfies(given: AccessMode, wanted: AccessMode) -> bool:
    """Whether storage that can give `given` can give `wanted` too; an unknown mode gives only itself."""
    return given == wanted or wanted in _GIVES.get(given, frozenset())


def second_publish(
    mode: AccessMode, *, same_target: bool, same_arguments: bool, multi_writer_declared: bool
) -> SecondPublish:
    """The answer to a NodePublishVolume of a volume that is published on this node already.

    `same_arguments` is about everything but the target and secrets (`same_publish_arguments`);
    `multi_writer_declared` is node capability SINGLE_NODE_MULTI_WRITER. Source: spec, NodePublishVolume.
    """
    if same_target:
        return "ok" if same_arguments else "already-exists"
    many = is_multi_node(mode) or (mode is AccessMode.SINGLE_NODE_MULTI_WRITER and multi_writer_declared)
    return "ok" if many else "failed-precondition"


def same_publish_arguments(first: NodePublishVolumeRequest, second: NodePublishVolumeRequest) -> bool:
    """Whether two publishes of one volume ask for the same thing, apart from the target path.

    Secrets may have been renewed in between, and the keys that Kubernetes adds to the volume context name
    the Pod; neither counts.
    """
    return (
        first.volume_capability == second.volume_capability
        and first.staging_target_path == second.staging_target_path
        and first.readonly == second.readonly
        and first.publish_context == second.publish_context
        and plugin_context(first.volume_context) == plugin_context(second.volume_context)
    )


def plugin_context(context: Mapping[str, str]) -> dict[str, str]:
    """A volume context without the keys that the orchestrator added to it."""
    return {key: value for key, value in context.items() if not key.startswith(ORCHESTRATOR_CONTEXT)}


class NodePublication(Struct, frozen=True):
    """A volume made available on a node by ControllerPublishVolume."""

    node_id: str
    volume_capability: VolumeCapability
    readonly: bool = False


def second_controller_publish(
    request: ControllerPublishVolumeRequest, published: Iterable[NodePublication]
) -> NodePublication | None:
    """The publication that this request repeats, or None when it is a new one and there is room for it.

    Raises AlreadyExists for the same node with another capability or readonly flag, FailedPrecondition for
    another node unless both the request and what is published allow several nodes.
    """
    others = {publication.node_id: publication for publication in published}
    same = others.pop(request.node_id, None)
    if same is not None:
        wish = request.volume_capability
        if (wish is None or sealed(same.volume_capability) != sealed(wish)) or same.readonly != request.readonly:
            raise AlreadyExists(
                f"volume {request.volume_id!r} is published to node {request.node_id!r} with another "
                "capability or readonly flag; unpublish it from there first"
            )
        return same
    wanted = request.volume_capability
    for node_id, publication in sorted(others.items()):
        claims = [publication.volume_capability, *([wanted] if wanted else [])]
        exclusive = [claim.access_mode.name for claim in claims if not is_multi_node(claim.access_mode)]
        if exclusive:
            raise FailedPrecondition(
                f"volume {request.volume_id!r} is published to node {node_id!r} and {exclusive[0]} allows "
                f"one node; unpublish it from {node_id!r} first"
            )
    return None
