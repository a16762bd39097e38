"""Facts of a volume or snapshot as tags that a storage system keeps with it (`BackendTags`).

The facts are JSON, compressed and cut into values of at most 250 characters, the least that the
common clouds take; no secrets are among them. Names and ids are derived from the orchestrator's
name, so that a driver without any memory finds again what it made.
"""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import TypeVar

import msgspec

from moorage.framework.store import ID_PREFIX
from moorage.framework.values import VolumeRecord

PREFIX = "moorage.dev/"
VALUE_CHARACTERS = 250

FactsT = TypeVar("FactsT")


class SnapshotFactsTag(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a snapshot's tags say beyond what the storage system knows."""

    name: str
    source_volume_id: str
    parameters: Mapping[str, str] = {}
    group_snapshot_id: str = ""
    group_size: int = 0


def derived_id(kind: str, name: str) -> str:
    """An id that is the same for the same name, always."""
    return f"{ID_PREFIX[kind]}-{sha256(f'{kind}/{name}'.encode()).hexdigest()[:32]}"


def volume_tags(record: VolumeRecord) -> dict[str, str]:
    """The tags of a volume."""
    return _pack("volume", record.name, msgspec.json.encode(record))


def snapshot_tags(
    name: str, source_volume_id: str, parameters: Mapping[str, str], *, group: str = "", group_size: int = 0
) -> dict[str, str]:
    """The tags of a snapshot; `group_size` is how many members its group has when it is whole."""
    facts = SnapshotFactsTag(
        name=name,
        source_volume_id=source_volume_id,
        parameters=parameters,
        group_snapshot_id=group,
        group_size=group_size,
    )
    return _pack("snapshot", name, msgspec.json.encode(facts))


def read_volume_tags(tags: Mapping[str, str]) -> VolumeRecord | None:
    """The record that these tags hold; None when they are not of a volume made by this framework."""
    return _decoded(_unpack("volume", tags), VolumeRecord)


def read_snapshot_tags(tags: Mapping[str, str]) -> SnapshotFactsTag | None:
    """The facts that these tags hold; None when they are not of a snapshot made by this framework."""
    return _decoded(_unpack("snapshot", tags), SnapshotFactsTag)


def _decoded(data: bytes | None, kind: type[FactsT]) -> FactsT | None:
    """Facts that somebody has damaged count as none: one volume must not stop all others."""
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _pack(kind: str, name: str, facts: bytes) -> dict[str, str]:
    text = urlsafe_b64encode(zlib.compress(facts, 9)).decode()
    tags = {f"{PREFIX}kind": kind, f"{PREFIX}id": derived_id(kind, name)}
    for number, start in enumerate(range(0, len(text), VALUE_CHARACTERS)):
        tags[f"{PREFIX}facts.{number}"] = text[start : start + VALUE_CHARACTERS]
    return tags


def _unpack(kind: str, tags: Mapping[str, str]) -> bytes | None:
    if tags.get(f"{PREFIX}kind") != kind:
        return None
    parts: list[str] = []
    while (part := tags.get(f"{PREFIX}facts.{len(parts)}")) is not None:
        parts.append(part)
    try:
        return zlib.decompress(urlsafe_b64decode("".join(parts)))
    except (ValueError, zlib.error):
        return None
