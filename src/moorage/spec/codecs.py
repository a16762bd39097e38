"""How one field of a protobuf message and one field of a struct are copied into each other.

Each function returns a pair for `moorage.spec.convert`: a reader (message -> value) and a writer (value and
message to fill). They close over names and plans, so that nothing is looked up while a message is copied; a
field at its default costs one comparison. Nothing here knows which message has which fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from msgspec import Struct

from moorage.spec.condition import add_condition, condition_of
from moorage.spec.types import AccessMode, BlockAccess, OpenEnum, Secrets, SnapshotSource, VolumeSource

Reader = Callable[[Any], object]
Writer = Callable[[Any, Any], None]
Codec = tuple[Reader, Writer]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for a time that the peer did not set."""
EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


class StructPlan(Protocol):
    """What copies a whole struct; `moorage.spec.convert.Plan` does."""

    def read(self, message: Any) -> Struct:
        """A struct with the message's values."""
        ...

    def write(self, struct: Struct, message: Any) -> None:
        """Set the fields of an empty message."""
        ...


def scalar_codec(name: str, annotation: Any) -> Codec:
    """Strings, numbers, booleans and enums."""

    def read_scalar(message: Any) -> object:
        return getattr(message, name)

    def read_enum(message: Any) -> object:
        return annotation(getattr(message, name))

    def write(value: Any, message: Any) -> None:
        if value:
            setattr(message, name, value)

    is_enum = isinstance(annotation, type) and issubclass(annotation, OpenEnum)
    return (read_enum if is_enum else read_scalar), write


def repeated_codec(name: str) -> Codec:
    """Lists of strings."""

    def read(message: Any) -> object:
        return tuple(getattr(message, name))

    def write(value: Any, message: Any) -> None:
        if value:
            getattr(message, name).extend(value)

    return read, write


def map_codec(name: str, kind: Any) -> Codec:
    """Maps of strings; secrets keep their class, which does not print them."""
    make = Secrets if kind is Secrets else dict

    def read(message: Any) -> object:
        return make(getattr(message, name))

    def write(value: Any, message: Any) -> None:
        if value:
            getattr(message, name).update(value)

    return read, write


def struct_codec(name: str, plan: StructPlan, *, optional: bool) -> Codec:
    """One message inside another; absent ones are None where the struct allows it, else empty."""

    def read(message: Any) -> object:
        return plan.read(getattr(message, name)) if not optional or message.HasField(name) else None

    def write(value: Any, message: Any) -> None:
        if value is not None:
            part = getattr(message, name)
            part.SetInParent()
            plan.write(value, part)

    return read, write


def structs_codec(name: str, plan: StructPlan) -> Codec:
    """A list of messages."""

    def read(message: Any) -> object:
        return tuple([plan.read(part) for part in getattr(message, name)])

    def write(value: Any, message: Any) -> None:
        if value:
            parts = getattr(message, name)
            for item in value:
                plan.write(item, parts.add())

    return read, write


def entries_codec(name: str, inner: str, plan: StructPlan) -> Codec:
    """A list of messages, each in an entry that holds nothing else."""

    def read(message: Any) -> object:
        return tuple([plan.read(getattr(entry, inner)) for entry in getattr(message, name)])

    def write(value: Any, message: Any) -> None:
        entries = getattr(message, name)
        for item in value:
            part = getattr(entries.add(), inner)
            part.SetInParent()
            plan.write(item, part)

    return read, write


def capability_codec(kind: type[OpenEnum], outer: str) -> Codec:
    """A list of capabilities as a set; entries of another kind than `outer` are another field's business."""

    def read(message: Any) -> object:
        entries = [entry for entry in message.capabilities if entry.HasField(outer)]
        return frozenset([kind(getattr(entry, outer).type) for entry in entries])

    def write(value: Any, message: Any) -> None:
        for number in sorted(value):
            part = getattr(message.capabilities.add(), outer)
            part.SetInParent()
            part.type = number

    return read, write


def access_type_codec(plans: Mapping[str, StructPlan]) -> Codec:
    """The `oneof access_type` of VolumeCapability."""

    def read(message: Any) -> object:
        chosen = message.WhichOneof("access_type")
        return plans[chosen].read(getattr(message, chosen)) if chosen else None

    def write(value: Any, message: Any) -> None:
        if value is not None:
            chosen = "block" if isinstance(value, BlockAccess) else "mount"
            part = getattr(message, chosen)
            part.SetInParent()
            plans[chosen].write(value, part)

    return read, write


def access_mode_codec() -> Codec:
    """The number inside the message AccessMode."""

    def read(message: Any) -> object:
        return AccessMode(message.access_mode.mode)

    def write(value: Any, message: Any) -> None:
        if value:
            message.access_mode.mode = value

    return read, write


def content_source_codec(name: str) -> Codec:
    """The `oneof type` of VolumeContentSource."""

    def read(message: Any) -> object:
        if not message.HasField(name):
            return None
        source = getattr(message, name)
        if source.WhichOneof("type") == "volume":
            return VolumeSource(source.volume.volume_id)
        return SnapshotSource(source.snapshot.snapshot_id)

    def write(value: Any, message: Any) -> None:
        if isinstance(value, VolumeSource):
            getattr(message, name).volume.SetInParent()
            getattr(message, name).volume.volume_id = value.volume_id
        elif value is not None:
            getattr(message, name).snapshot.SetInParent()
            getattr(message, name).snapshot.snapshot_id = value.snapshot_id

    return read, write


def wrapper_codec(name: str) -> Codec:
    """BoolValue and Int64Value: None when absent."""

    def read(message: Any) -> object:
        return getattr(message, name).value if message.HasField(name) else None

    def write(value: Any, message: Any) -> None:
        if value is not None:
            part = getattr(message, name)
            part.SetInParent()
            part.value = value

    return read, write


def time_codec(name: str) -> Codec:
    """Timestamp as an aware datetime; a time outside the years 1 to 9999 is moved to the nearest end."""

    def read(message: Any) -> object:
        stamp = getattr(message, name)
        try:
            return EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
        except OverflowError:
            return LATEST if stamp.seconds > 0 else EARLIEST

    def write(value: Any, message: Any) -> None:
        since = value - EPOCH
        if since:
            stamp = getattr(message, name)
            stamp.seconds = since.days * 86_400 + since.seconds
            stamp.nanos = since.microseconds * 1000

    return read, write


def condition_codec() -> Codec:
    """The volume's condition, for peers that speak CSI 1.12 or older."""

    def write(value: Any, message: Any) -> None:
        if value is not None:
            add_condition(message, value)

    return condition_of, write
