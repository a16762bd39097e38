"""JSON of the API server to objects and back, straight from bytes; decoders are made once for each type.

A type may be any that msgspec decodes, or `bytes` for the JSON as it came. This module knows no requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import msgspec
from msgspec import Struct

from moorage.kube.errors import Undecodable
from moorage.kube.resource import Resource

__all__ = ["Body", "Page", "decode_object", "decode_page", "encode", "encode_new"]

T = TypeVar("T")
Body: TypeAlias = bytes | Struct | Mapping[str, Any]
"""What a write sends: JSON as it is, or something to encode."""


class Page(Struct, Generic[T], frozen=True, gc=False):
    """Some objects of a list, all as of `resource_version`; `continue_token` is empty on the last page."""

    items: list[T]
    resource_version: str
    continue_token: str = ""
    remaining: int = 0


class _ListMetadata(Struct, frozen=True, kw_only=True, gc=False, rename="camel"):
    resource_version: str = ""
    continue_token: str = msgspec.field(default="", name="continue")
    remaining_item_count: int = 0


class _List(Struct, Generic[T], frozen=True, gc=False):
    metadata: _ListMetadata
    items: list[T] | None = None


def decode_object(body: bytes, as_: type[T], *, what: str) -> T:
    """One object. Raises Undecodable, which names `what` it was."""
    if as_ is bytes:
        return cast("T", body)
    try:
        return cast("T", _object_decoder(cast("Any", as_)).decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _undecodable(what, error) from error


def decode_page(body: bytes, as_: type[T], *, what: str) -> Page[T]:
    """A list, or a page of one. Raises Undecodable."""
    try:
        found = _list_decoder(cast("Any", as_)).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _undecodable(f"the list of {what}", error) from error
    items = found.items or []
    if as_ is bytes:
        items = [bytes(item) for item in items]
    metadata = found.metadata
    return Page(items, metadata.resource_version, metadata.continue_token, metadata.remaining_item_count)


def encode_new(resource: Resource, body: Body) -> bytes:
    """The JSON of an object to be sent whole; apiVersion and kind are those of `resource` unless it has its own."""
    if isinstance(body, bytes):
        return body
    named = {"apiVersion": resource.api_version, "kind": resource.kind}
    return _encoder.encode(named | msgspec.to_builtins(body))


def encode(body: Body | list[dict[str, Any]]) -> bytes:
    """The JSON of a patch or of options."""
    return body if isinstance(body, bytes) else _encoder.encode(body)


@lru_cache(maxsize=512)
def _object_decoder(as_: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(as_)


@lru_cache(maxsize=512)
def _list_decoder(as_: Any) -> msgspec.json.Decoder[_List[Any]]:
    return msgspec.json.Decoder(_List[msgspec.Raw] if as_ is bytes else _List[as_])


def _undecodable(what: str, error: Exception) -> Undecodable:
    return Undecodable(
        f"the API server's answer for {what} cannot be decoded ({error}); this client does not fit the server's version"
    )


_encoder: Final = msgspec.json.Encoder()
