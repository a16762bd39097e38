"""Turns the body of a watch into events: lines out of chunks, then one decoding of each line.

A line is one event and may be larger than any buffer (an object has up to 1.5 MiB in the store, more as
JSON), so lines are collected without copying them again for each chunk. This module knows no transport.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from moorage.kube.errors import Status, Undecodable, error_from_status

__all__ = ["Bookmark", "Change", "ChangeType", "Event", "EventDecoder", "events", "lines", "type_of"]

T = TypeVar("T")
ChangeType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED"]

MAX_LINE_BYTES: Final = 64 << 20
INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"


class Change(Struct, Generic[T], frozen=True):
    """An object came, changed or went; for DELETED it is the last state."""

    type: ChangeType
    object: T


class Bookmark(Struct, frozen=True):
    """Everything up to `resource_version` has been seen.

    `initial_events_end` marks the end of the first state in a watch that began with all objects.
    """

    resource_version: str
    initial_events_end: bool = False


Event: TypeAlias = Change[T] | Bookmark


class _Frame(Struct, Generic[T], frozen=True):
    type: str
    object: T


class _Type(Struct, frozen=True):
    type: str


class _Metadata(Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Marker(Struct, frozen=True):
    metadata: _Metadata


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of a body without their newline; empty ones are left out, and so is an unfinished last one.

    The time is linear in the number of bytes. Raises Undecodable for a line over 64 MiB.
    """
    parts: list[bytes] = []
    size_bytes = 0
    async for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            line = chunk[start:end]
            if parts:
                line = b"".join((*parts, line))
                parts.clear()
                size_bytes = 0
            if line and not line.isspace():
                yield line
            start = end + 1
        if start < len(chunk):
            parts.append(chunk[start:] if start else chunk)
            size_bytes += len(chunk) - start
            if size_bytes > MAX_LINE_BYTES:
                raise Undecodable(f"one event of the watch has more than {MAX_LINE_BYTES >> 20} MiB; give up on it")


class EventDecoder(Generic[T]):
    """Decodes lines of a watch on objects of one type; `bytes` gives the JSON of the object as it came."""

    def __init__(self, as_: type[T]) -> None:
        self._raw = as_ is bytes
        self._change = msgspec.json.Decoder(Change[msgspec.Raw] if self._raw else Change[as_])  # type: ignore[valid-type] # msgspec builds its decoder from the type at run time

    def decode(self, line: bytes) -> Event[T]:
        """The event of one line.

        Raises the ApiError that an event of type ERROR holds (Gone when the watch began too long ago), and
        Undecodable.
        """
        try:
            return self._decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Undecodable(f"an event of the watch cannot be decoded: {error}") from error

    def _decode(self, line: bytes) -> Event[T]:
        match type_of(line):
            case "ADDED" | "MODIFIED" | "DELETED":
                change = self._change.decode(line)
                return Change(change.type, bytes(change.object)) if self._raw else change  # type: ignore[arg-type] # T is bytes then
            case "BOOKMARK":
                metadata = _marker_decoder.decode(line).object.metadata
                initial = (metadata.annotations or {}).get(INITIAL_EVENTS_END) == "true"
                return Bookmark(metadata.resource_version, initial)
            case "ERROR":
                raise error_from_status(_error_decoder.decode(line).object)
            case other:
                raise Undecodable(f"the watch sent an event of the unknown type {other!r}")


def type_of(line: bytes) -> str:
    """The type of an event. The API server writes it first, which spares a look at the whole line."""
    if line.startswith(_TYPE_FIRST) and (end := line.find(b'"', len(_TYPE_FIRST), 32)) > 0:
        return line[len(_TYPE_FIRST) : end].decode("ascii", "replace")
    return _type_decoder.decode(line).type


async def events(chunks: AsyncIterator[bytes], decoder: EventDecoder[T]) -> AsyncGenerator[Event[T], None]:
    """The events of the body of a watch."""
    async for line in lines(chunks):
        yield decoder.decode(line)


_TYPE_FIRST: Final = b'{"type":"'
_type_decoder: Final = msgspec.json.Decoder(_Type)
_marker_decoder: Final = msgspec.json.Decoder(_Frame[_Marker])
_error_decoder: Final = msgspec.json.Decoder(_Frame[Status])
