"""Between the protobuf messages of the wire and the frozen structs of `moorage.spec`.

Plans are compiled once for each pair of struct and message, on first use, from the struct's annotations and
the message's descriptor: one reader and one writer for each field. Field names are equal on both sides, so
there is no table of names; the shapes that differ (capability lists, `oneof`, wrappers, entries with one
field) each have their own small reader and writer here. Fields at their default cost one comparison.
Nothing is validated: that is the work of `moorage.spec.validate`, which sees what a peer left unset as
empty.

What the structs cannot tell apart: a content source that names nothing reads as an empty snapshot id, an
access mode that is absent as UNKNOWN, a required message that is absent as an empty one, and a creation
time that is absent as the Unix epoch. Times have microseconds. Unknown numbers of enums survive both ways.
"""

from __future__ import annotations

import typing
from functools import cache
from types import NoneType
from typing import Any, NamedTuple, TypeVar

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from msgspec import Struct

from moorage.proto import csi_pb2
from moorage.spec import codecs, messages, types
from moorage.spec.codecs import Codec, Reader, Writer
from moorage.spec.types import BlockAccess, MountAccess, SnapshotSource, VolumeSource

StructT = TypeVar("StructT", bound=Struct)

RENAMED: dict[str, type[Struct]] = {
    "csi.v1.VolumeCapability.BlockVolume": BlockAccess,
    "csi.v1.VolumeCapability.MountVolume": MountAccess,
    "csi.v1.VolumeContentSource.SnapshotSource": SnapshotSource,
    "csi.v1.VolumeContentSource.VolumeSource": VolumeSource,
    "csi.v1.VolumeHealth.VolumeHealthEntry": types.HealthEntry,
    "csi.v1.ListVolumesResponse.Entry": messages.ListedVolume,
}
"""Messages whose struct has another name than the last part of theirs."""

CAPABILITY_ENTRY = {types.PluginCapability: "service", types.VolumeExpansion: "volume_expansion"}
"""The part of a capability list's entry that holds the numbers of an enum; `rpc` for all others."""


def to_proto(struct: Struct) -> Message:
    """The protobuf message of `struct`. Raises ValueError or TypeError for what protobuf cannot hold."""
    plan = plan_for(type(struct), message_class_of(type(struct)).DESCRIPTOR)
    message = plan.message()
    plan.write(struct, message)
    return message


def from_proto(message: Message) -> Struct:
    """The struct of `message`; it shares nothing with the message."""
    descriptor = typing.cast("Descriptor", message.DESCRIPTOR)
    return plan_of(descriptor).read(message)


def decode(kind: type[StructT], message: Message) -> StructT:
    """`message` as a struct of `kind`. Raises TypeError when the message belongs to another struct."""
    struct = from_proto(message)
    if not isinstance(struct, kind):
        raise TypeError(f"{message.DESCRIPTOR.full_name} is not a {kind.__name__} but a {type(struct).__name__}")
    return struct


@cache
def message_class_of(kind: type[Struct]) -> type[Message]:
    """The message class that `to_proto` makes of a struct class (the first one where two share a struct)."""
    for descriptor in all_descriptors():
        if struct_name_of(descriptor) == kind.__name__ and struct_class_of(descriptor) is kind:
            return GetMessageClass(descriptor)
    raise TypeError(f"{kind.__name__} has no message of its own in the CSI specification")


def struct_class_of(descriptor: Descriptor) -> type[Struct]:
    """The struct class for messages of this descriptor. Raises TypeError when there is none."""
    if descriptor.full_name in RENAMED:
        return RENAMED[descriptor.full_name]
    name = struct_name_of(descriptor)
    kind: Any = getattr(messages, name, None) or getattr(types, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Struct)):
        raise TypeError(f"{descriptor.full_name} has no struct: only requests, responses and their parts have")
    return kind


def struct_name_of(descriptor: Descriptor) -> str:
    """The name of the struct class that belongs to this descriptor."""
    renamed = RENAMED.get(descriptor.full_name)
    return renamed.__name__ if renamed else descriptor.name


@cache
def all_descriptors() -> tuple[Descriptor, ...]:
    """Every message of the CSI specification, nested ones after the one that holds them."""

    def walk(descriptor: Descriptor) -> list[Descriptor]:
        nested = [d for d in descriptor.nested_types if not d.GetOptions().map_entry]
        return [descriptor, *(found for child in nested for found in walk(child))]

    top_level = csi_pb2.DESCRIPTOR.message_types_by_name.values()
    return tuple(found for descriptor in top_level for found in walk(descriptor))


class Plan(NamedTuple):
    """How one struct class and one message class are copied into each other."""

    kind: type[Struct]
    message: type[Message]
    readers: tuple[Reader, ...]
    writers: tuple[tuple[str, Writer], ...]

    def read(self, message: Any) -> Struct:
        """A struct with the message's values."""
        return self.kind(*[read(message) for read in self.readers])

    def write(self, struct: Struct, message: Any) -> None:
        """Set the fields of an empty message."""
        for name, write in self.writers:
            write(getattr(struct, name), message)


@cache
def plan_for(kind: type[Struct], descriptor: Descriptor) -> Plan:
    """The compiled plan of a pair."""
    readers: list[Reader] = []
    writers: list[tuple[str, Writer]] = []
    for field in msgspec.structs.fields(kind):
        read, write = compile_field(field.name, field.type, descriptor)
        readers.append(read)
        writers.append((field.name, write))
    return Plan(kind, GetMessageClass(descriptor), tuple(readers), tuple(writers))


def compile_field(name: str, annotation: Any, descriptor: Descriptor) -> Codec:
    """The reader and the writer of one struct field. Raises TypeError when the proto has no such field."""
    if name == "volume_condition":
        return codecs.condition_codec()
    if name == "access_type":
        parts = {field.name: held_message(field) for field in descriptor.oneofs_by_name["access_type"].fields}
        return codecs.access_type_codec({name: plan_of(part) for name, part in parts.items()})
    if typing.get_origin(annotation) is frozenset:
        kind = leaf_class(annotation)
        return codecs.capability_codec(kind, CAPABILITY_ENTRY.get(kind, "rpc"))
    field = descriptor.fields_by_name.get(name)
    if field is None:
        raise TypeError(f"{descriptor.full_name} has no field {name!r}; the struct is ahead of the proto")
    if field.message_type is None:
        return codecs.repeated_codec(name) if field.is_repeated else codecs.scalar_codec(name, annotation)
    if field.message_type.GetOptions().map_entry:
        return codecs.map_codec(name, leaf_class(annotation))
    return message_codec(field, optional=NoneType in typing.get_args(annotation))


def message_codec(field: FieldDescriptor, *, optional: bool) -> Codec:
    """For a field that holds a message, or several."""
    part = held_message(field)
    match part.full_name:
        case "google.protobuf.Timestamp":
            return codecs.time_codec(field.name)
        case "google.protobuf.BoolValue" | "google.protobuf.Int64Value":
            return codecs.wrapper_codec(field.name)
        case "csi.v1.VolumeContentSource":
            return codecs.content_source_codec(field.name)
        case "csi.v1.VolumeCapability.AccessMode":
            return codecs.access_mode_codec()
        case "csi.v1.ListSnapshotsResponse.Entry":
            inner = held_message(part.fields_by_name["snapshot"])
            return codecs.entries_codec(field.name, "snapshot", plan_of(inner))
    if field.is_repeated:
        return codecs.structs_codec(field.name, plan_of(part))
    return codecs.struct_codec(field.name, plan_of(part), optional=optional)


def plan_of(descriptor: Descriptor) -> Plan:
    """The plan of a message that is part of another."""
    return plan_for(struct_class_of(descriptor), descriptor)


def held_message(field: FieldDescriptor) -> Descriptor:
    """The kind of message that a field holds. Raises TypeError for a field that holds none."""
    if field.message_type is None:
        raise TypeError(f"{field.full_name} holds no message")
    return field.message_type


def leaf_class(annotation: Any) -> Any:
    """The class inside `frozenset[X]`, a plain class itself, `dict` for a mapping."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is frozenset else dict
