"""Between bytes and structs: the (de)serialisers that client and server give to gRPC's raw calls.

Messages without fields cost nothing. This module knows neither calls nor connections.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError, EncodeError, Message
from msgspec import Struct

from moorage.spec.convert import from_proto, to_proto
from moorage.spec.rules import RPCS

_FIELDLESS: dict[type[Message], Struct] = {
    kind: request()
    for rpc in RPCS.values()
    for kind, request in ((rpc.request_proto, rpc.request), (rpc.response_proto, rpc.response))
    if not request.__struct_fields__
}
"""The one value of every message that has no fields."""


class WireError(ValueError):
    """Bytes are no message of the expected kind, or a struct does not fit into one."""


def encode(struct: Struct) -> bytes:
    """The wire form of a request or response. Raises WireError when protobuf cannot hold a value."""
    if not struct.__struct_fields__:
        return b""
    try:
        return to_proto(struct).SerializeToString()
    except (ValueError, TypeError, EncodeError) as error:
        # The error's text can quote the value, and the value can be a secret.
        raise WireError(f"{type(struct).__name__} holds a value that protobuf cannot carry") from error


def decode(kind: type[Message], raw: bytes) -> Struct:
    """The struct of one wire message of class `kind`. Raises WireError when the bytes are something else."""
    if not raw and kind in _FIELDLESS:
        return _FIELDLESS[kind]
    try:
        return from_proto(kind.FromString(raw))
    except (ValueError, TypeError, DecodeError) as error:
        raise WireError(f"{len(raw)} bytes are not a valid {kind.DESCRIPTOR.full_name}") from error
