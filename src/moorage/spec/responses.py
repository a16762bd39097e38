"""Responses against the specification: strict, because what a plugin sends binds it for years.

Two kinds of rules: generic ones that follow from a field's type, name and REQUIRED mark (sizes, emptiness,
UNKNOWN enums, negative numbers), walked over the whole response; and the few that only one kind of object
has. A server checks its own answers with them, a conformance suite those of others. Nothing here raises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from google.protobuf.message import Message
from msgspec import Struct

from moorage.proto.required import REQUIRED_FIELDS
from moorage.spec import messages as m
from moorage.spec import types as t
from moorage.spec.capabilities import Declared
from moorage.spec.codecs import EPOCH
from moorage.spec.convert import from_proto, message_class_of
from moorage.spec.names import driver_name_problem
from moorage.spec.rules import (
    MAP_LIMIT_BYTES,
    MOUNT_FLAGS_LIMIT_BYTES,
    NODE_ID_LIMIT_BYTES,
    STRING_LIMIT_BYTES,
    Rpc,
)
from moorage.spec.topology import segment_problems

NODE_ID_FIELDS: Final = frozenset({"node_id", "published_node_ids"})

ZERO_ALLOWED: Final = frozenset({"available_capacity", "byte_offset", "total", "volume_capacity_bytes"})
"""Required numbers for which 0 is an answer, not a gap."""


def response_problems(rpc: Rpc, response: Struct | Message, declared: Declared | None = None) -> list[str]:
    """Every way in which a response breaks the specification, one sentence each; empty when it is sound.

    A protobuf message is judged for repeated capabilities too, which the structs cannot show. With
    `declared` it is also held against what the plugin declares.
    """
    found: list[str] = []
    if isinstance(response, Message):
        found += _repeated_capabilities(response)
        response = from_proto(response)
    if type(response) is not rpc.response:
        return [f"{rpc.name}: the response is a {type(response).__name__}, not a {rpc.response.__name__}"]
    for path, part in _parts("", response):
        found += [f"{_label(path, field)}{problem}" for field, problem in _generic_problems(part)]
        for rule in _RULES.get(type(part), ()):
            found += [f"{_label(path, '')}{problem}" for problem in rule(part)]
        if declared is not None and type(part) in _DECLARED_RULES:
            found += [f"{_label(path, '')}{problem}" for problem in _DECLARED_RULES[type(part)](part, declared)]
    return [f"{rpc.name}: {problem}" for problem in found]


def _label(path: str, field: str) -> str:
    whole = ".".join(part for part in (path, field) if part)
    return f"{whole} " if whole else "the response "


def _parts(path: str, struct: Struct) -> Iterator[tuple[str, Struct]]:
    """A struct and every struct inside it, with their paths."""
    yield path, struct
    for field in struct.__struct_fields__:
        value = getattr(struct, field)
        inner = f"{path}.{field}" if path else field
        if isinstance(value, Struct):
            yield from _parts(inner, value)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Struct):
                    yield from _parts(f"{inner}[{index}]", item)


# --- what follows from a field's type and name ---------------------------------------------------


def _generic_problems(struct: Struct) -> Iterator[tuple[str, str]]:
    required = required_of(type(struct))
    for field in struct.__struct_fields__:
        value = getattr(struct, field)
        if field in required and _is_gap(field, value):
            yield field, "is required and is not set"
        elif (problem := _value_problem(field, value)) is not None:
            yield field, problem


def required_of(kind: type[Struct]) -> tuple[str, ...]:
    """The required fields of a struct, as its proto message names them."""
    try:
        name = message_class_of(kind).DESCRIPTOR.full_name
    except TypeError:
        return ()
    return REQUIRED_FIELDS.get(name, ())


def _is_gap(field: str, value: object) -> bool:
    if isinstance(value, bool | Struct):
        return False
    if field == "creation_time":
        return value == EPOCH
    return not value and field not in ZERO_ALLOWED


def _value_problem(field: str, value: object) -> str | None:
    if isinstance(value, str):
        limit = NODE_ID_LIMIT_BYTES if field in NODE_ID_FIELDS else STRING_LIMIT_BYTES
        return _size_problem(size_of(value), limit)
    if isinstance(value, t.OpenEnum | bool):
        return None
    if isinstance(value, int):
        return f"is negative ({value})" if value < 0 else None
    if isinstance(value, Mapping):
        return _size_problem(sum(size_of(k) + size_of(v) for k, v in value.items()), MAP_LIMIT_BYTES)
    if isinstance(value, frozenset):
        return "holds UNKNOWN (0), which no plugin may declare" if 0 in value else None
    if isinstance(value, tuple):
        return _strings_problem(field, [item for item in value if isinstance(item, str)])
    return None


def _strings_problem(field: str, values: list[str]) -> str | None:
    if field == "mount_flags":
        return _size_problem(sum(map(size_of, values)), MOUNT_FLAGS_LIMIT_BYTES)
    limit = NODE_ID_LIMIT_BYTES if field in NODE_ID_FIELDS else STRING_LIMIT_BYTES
    return next((problem for value in values if (problem := _size_problem(size_of(value), limit))), None)


def size_of(text: str) -> int:
    """The size of a string on the wire, in bytes."""
    return len(text.encode("utf-8", "surrogatepass"))


def _size_problem(size_bytes: int, limit_bytes: int) -> str | None:
    return f"has {size_bytes} bytes, and {limit_bytes} are allowed" if size_bytes > limit_bytes else None


# --- what only one kind of object has ------------------------------------------------------------


def _driver_name(info: m.GetPluginInfoResponse) -> Iterator[str]:
    if info.name and (problem := driver_name_problem(info.name)):
        yield f"names the plugin {info.name!r}, which {problem}"


def _group_capabilities(answer: m.GroupControllerGetCapabilitiesResponse) -> Iterator[str]:
    if not answer.capabilities:
        yield "declares no capability, and a group controller without any is of no use"


def _volume_page(page: m.ListVolumesResponse) -> Iterator[str]:
    yield from _repeated("volume id", [entry.volume.volume_id for entry in page.entries])


def _snapshot_page(page: m.ListSnapshotsResponse) -> Iterator[str]:
    yield from _repeated("snapshot id", [entry.snapshot_id for entry in page.entries])


def _health_page(page: m.ControllerListVolumeHealthResponse) -> Iterator[str]:
    yield from _repeated("volume id", [entry.volume_id for entry in page.entries])


def _repeated(what: str, values: list[str]) -> Iterator[str]:
    for value, count in Counter(values).items():
        if count > 1:
            yield f"lists {what} {value!r} {count} times"


def _topology(topology: t.Topology) -> Iterator[str]:
    if not topology.segments:
        yield "has no segments"
    for problem in segment_problems(topology.segments):
        yield f"is not a legal topology: {problem}"


def _capability(capability: t.VolumeCapability) -> Iterator[str]:
    if capability.access_type is None:
        yield "has neither block nor mount access"


def _group(group: t.VolumeGroupSnapshot) -> Iterator[str]:
    for snapshot in group.snapshots:
        if snapshot.group_snapshot_id != group.group_snapshot_id:
            yield (
                f"holds snapshot {snapshot.snapshot_id!r}, which names group {snapshot.group_snapshot_id!r} "
                f"instead of {group.group_snapshot_id!r}"
            )
    if group.ready_to_use and not all(snapshot.ready_to_use for snapshot in group.snapshots):
        yield "is ready to use although not all of its snapshots are"


def _volume_health(health: t.VolumeHealth) -> Iterator[str]:
    yield from _repeated("status and reason", [f"{e.status.name}/{e.reason}" for e in health.health_statuses])


def _health_reason(entry: t.HealthEntry | t.StorageBackendHealth) -> Iterator[str]:
    if entry.reason and not (entry.reason.isalnum() and entry.reason[0].isupper()):
        yield f"has reason {entry.reason!r}, which is not one CamelCase word"


def _storage_health(answer: m.NodeGetStorageHealthResponse) -> Iterator[str]:
    keys = [(entry.status, entry.reason, entry.volume_capability) for entry in answer.backend_health]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            yield f"tells status {key[0].name} with reason {key[1]!r} twice for one capability"


MetadataResponse = m.GetMetadataAllocatedResponse | m.GetMetadataDeltaResponse


def _block_metadata(answer: MetadataResponse) -> Iterator[str]:
    end = 0
    for index, block in enumerate(answer.block_metadata):
        if index and block.byte_offset < end:
            yield f"has block_metadata[{index}] at {block.byte_offset}, inside the one before (end {end})"
        end = block.byte_offset + block.size_bytes
    if end > answer.volume_capacity_bytes:
        yield f"has blocks up to byte {end} of a volume with {answer.volume_capacity_bytes}"
    sizes = {block.size_bytes for block in answer.block_metadata}
    if answer.block_metadata_type is t.BlockMetadataType.FIXED_LENGTH and len(sizes) > 1:
        yield f"has blocks of {len(sizes)} sizes although its type is FIXED_LENGTH"


_RULES: Final[Mapping[type[Struct], tuple[Callable[[Any], Iterator[str]], ...]]] = {
    m.GetPluginInfoResponse: (_driver_name,),
    m.GroupControllerGetCapabilitiesResponse: (_group_capabilities,),
    m.ListVolumesResponse: (_volume_page,),
    m.ListSnapshotsResponse: (_snapshot_page,),
    m.ControllerListVolumeHealthResponse: (_health_page,),
    m.NodeGetStorageHealthResponse: (_storage_health,),
    m.GetMetadataAllocatedResponse: (_block_metadata,),
    m.GetMetadataDeltaResponse: (_block_metadata,),
    t.Topology: (_topology,),
    t.VolumeCapability: (_capability,),
    t.VolumeGroupSnapshot: (_group,),
    t.VolumeHealth: (_volume_health,),
    t.HealthEntry: (_health_reason,),
    t.StorageBackendHealth: (_health_reason,),
}


# --- what the plugin's declarations allow and demand ---------------------------------------------


def _declared_volume(volume: t.Volume, declared: Declared) -> Iterator[str]:
    yield from _undeclared_topology(
        volume.accessible_topology, t.PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS, declared
    )


def _declared_snapshot(snapshot: t.Snapshot, declared: Declared) -> Iterator[str]:
    yield from _undeclared_topology(
        snapshot.accessible_topology, t.PluginCapability.SNAPSHOT_ACCESSIBILITY_CONSTRAINTS, declared
    )


def _declared_node(info: m.NodeGetInfoResponse, declared: Declared) -> Iterator[str]:
    needed = t.PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS
    yield from _undeclared_topology(info.accessible_topology, needed, declared)


def _undeclared_topology(topology: object, needed: t.PluginCapability, declared: Declared) -> Iterator[str]:
    if topology and not declared.has(needed):
        yield f"has accessible_topology although the plugin does not declare {needed.name}"


def _declared_entry(entry: m.ListedVolume, declared: Declared) -> Iterator[str]:
    needed = t.ControllerCapability.LIST_VOLUMES_PUBLISHED_NODES
    if entry.status is None and declared.has(needed):
        yield f"has no status although the plugin declares {needed.name}"


_DECLARED_RULES: Final[Mapping[type[Struct], Callable[[Any, Declared], Iterator[str]]]] = {
    t.Volume: _declared_volume,
    t.Snapshot: _declared_snapshot,
    m.NodeGetInfoResponse: _declared_node,
    m.ListedVolume: _declared_entry,
}


def _repeated_capabilities(message: Any) -> list[str]:
    if "capabilities" not in message.DESCRIPTOR.fields_by_name:
        return []
    counts = Counter(entry.SerializeToString() for entry in message.capabilities)
    times = max(counts.values(), default=1)
    return [f"capabilities holds one capability {times} times"] if times > 1 else []
