"""Protobuf's wire form, as far as rules need it below the level of messages.

Which fields a message has, whether this program knows them or not, and how to add one that nobody knows.
Format: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["UNKNOWN_FIELD", "WireFormatError", "field_numbers"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT: Final = 10


class WireFormatError(ValueError):
    """The bytes are no protobuf message."""


def field_numbers(body: bytes) -> frozenset[int]:
    """The numbers of the top-level fields of a message. Raises WireFormatError."""
    return frozenset(_fields(body))


def _fields(body: bytes) -> Iterator[int]:
    at = 0
    while at < len(body):
        tag, at = _varint(body, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireFormatError("a field has number 0")
        if kind == _VARINT:
            _, at = _varint(body, at)
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        elif kind == _BYTES:
            size, at = _varint(body, at)
            at += size
        else:
            raise WireFormatError(f"wire type {kind} is not in use")
        if at > len(body):
            raise WireFormatError("the message ends inside a field")
        yield number


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    value = 0
    for index in range(_LONGEST_VARINT):
        if at + index >= len(body):
            raise WireFormatError("the message ends inside a number")
        byte = body[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise WireFormatError(f"a number has more than {_LONGEST_VARINT} bytes")


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


_NUMBER: Final = 15_000
_TEXT: Final = b"from a later version"

UNKNOWN_FIELD: Final = _encoded(_NUMBER << 3 | _BYTES) + _encoded(len(_TEXT)) + _TEXT
"""A field with a number that no message of CSI has, to be put behind a message."""
