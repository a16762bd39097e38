"""Requests and responses for logs, without what must not be seen there.

A field is hidden because its descriptor carries the `csi_secret` option, so a field that a later version of
the specification marks is hidden without a change here. Two things carry no mark and are hidden too: mount
flags, which the specification calls sensitive, and the tokens that Kubernetes puts into contexts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from msgspec import Struct

from moorage.proto import csi_pb2
from moorage.spec.condition import condition_of
from moorage.spec.convert import from_proto, to_proto
from moorage.spec.types import STRIPPED, MountAccess, Secrets

TOKENS_KEY: Final = "csi.storage.k8s.io/serviceAccount.tokens"
"""The context key under which kubelet passes service account tokens."""

SENSITIVE_FIELDS: Final = frozenset({"mount_flags"})

COMMON_FLAGS: Final = frozenset(
    (
        *("ro", "rw", "atime", "noatime", "relatime", "norelatime", "strictatime", "diratime", "nodiratime"),
        *("dev", "nodev", "exec", "noexec", "suid", "nosuid", "sync", "async", "dirsync", "lazytime"),
        *("nolazytime", "defaults", "bind", "rbind", "private", "shared", "remount", "silent", "_netdev"),
        *("nofail", "discard", "nodiscard", "barrier", "nobarrier", "acl", "noacl", "user_xattr", "nouuid"),
        *("hard", "soft", "intr", "nointr", "tcp", "udp", "lock", "nolock", "mand", "nomand", "iversion"),
    )
)
"""Mount flags that everybody uses; to scrub them from texts would hide no secret and spoil the texts."""


def redact(value: Message | Struct) -> dict[str, Any]:
    """A message or struct as a dict for JSON: fields that are set, by their proto names, secrets stripped."""
    if isinstance(value, Struct):
        try:
            value = to_proto(value)
        except (ValueError, TypeError, OverflowError):
            return {"unprintable": type(value).__name__}
    return _fields_of(value)


def describe(value: Message | Struct) -> str:
    """One line of JSON of a message or struct, secrets stripped; keys in the order of the proto."""
    return json.dumps(redact(value), ensure_ascii=False, separators=(",", ":"))


def secret_values(value: Message | Struct) -> frozenset[str]:
    """Every secret text in a request: secrets, mount flags, tokens in contexts; for scrubbing texts."""
    struct = from_proto(value) if isinstance(value, Message) else value
    return frozenset(text for text in _secrets_in(struct) if text)


def _fields_of(message: Message) -> dict[str, Any]:
    found = {field.name: _shown(field, value) for field, value in message.ListFields()}
    condition = condition_of(message)
    if condition is not None:
        found["volume_condition"] = {"abnormal": condition.abnormal, "message": condition.message}
    return found


def _shown(field: FieldDescriptor, value: Any) -> Any:
    if field.GetOptions().Extensions[csi_pb2.csi_secret] or field.name in SENSITIVE_FIELDS:
        return STRIPPED
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {key: STRIPPED if key == TOKENS_KEY else value[key] for key in sorted(value)}
    if field.is_repeated:
        return [_shown_one(field, item) for item in value]
    return _shown_one(field, value)


def _shown_one(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    if field.message_type is None:
        return value
    match field.message_type.full_name:
        case "google.protobuf.Timestamp":
            return _time(value)
        case "google.protobuf.BoolValue" | "google.protobuf.Int64Value":
            return value.value
    return _fields_of(value)


def _time(stamp: Any) -> str:
    try:
        return datetime.fromtimestamp(stamp.seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{stamp.seconds} s"


def _secrets_in(struct: Struct) -> Iterator[str]:
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if not value or isinstance(value, str | int):  # most fields, and each check below costs
            continue
        if isinstance(value, Secrets):
            yield from value.values()
        elif isinstance(value, Mapping):
            yield from _tokens(value.get(TOKENS_KEY, ""))
        elif isinstance(value, Struct):
            yield from _secrets_in(value)
        elif isinstance(value, tuple):
            for item in value:
                if isinstance(item, Struct):
                    yield from _secrets_in(item)
    if isinstance(struct, MountAccess):
        yield from _sensitive_flags(struct.mount_flags)


def _sensitive_flags(flags: tuple[str, ...]) -> Iterator[str]:
    """Flags, the options in them, and the values of those options unless they are mere numbers."""
    for flag in flags:
        if flag not in COMMON_FLAGS:
            yield flag
        for option in flag.split(","):
            if option not in COMMON_FLAGS:
                yield option
            value = option.partition("=")[2]
            if not value.replace(".", "").isdigit():
                yield value


def _tokens(text: str) -> Iterator[str]:
    """The whole value, and each token in it. Its form: {"<audience>": {"token": "...", ...}}."""
    if not text:
        return
    yield text
    try:
        by_audience = msgspec.json.decode(text.encode("utf-8", "replace"), type=dict[str, dict[str, Any]])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return
    for entry in by_audience.values():
        token = entry.get("token")
        if isinstance(token, str):
            yield token
