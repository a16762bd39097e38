"""Pages of a list, with tokens that stay good while the list changes.

A token holds the position of the last entry that was given out, not its index: the next page starts behind
that position whether the entry still exists or not, so nothing is skipped or repeated when entries come and
go. Positions order the list: a short key is its own position; a long one counts by its beginning and a
digest, so that every token keeps to the 128 bytes of the specification. Nothing is stored between pages.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Final, TypeVar

from moorage.spec.errors import BadToken

T = TypeVar("T")

_VERSION: Final = "m1."
_CHECK_BYTES: Final = 8
_SHORT_KEY_BYTES: Final = 79
_LONG_KEY_PREFIX_BYTES: Final = 48


def position_of(key: str) -> bytes:
    """Where an entry stands in the list: at most 80 bytes, different for different keys."""
    raw = key.encode("utf-8", "surrogatepass")
    if len(raw) <= _SHORT_KEY_BYTES:
        return raw
    return raw[:_LONG_KEY_PREFIX_BYTES] + hashlib.sha256(raw).digest()


def encode_token(key: str, kind: str) -> str:
    """The token for "behind the entry `key`" in a list of `kind` ("volume", ...); at most 128 bytes."""
    return _seal(position_of(key), kind)


def decode_token(token: str, kind: str) -> bytes:
    """The position in a token. Raises BadToken for one not made by `encode_token` for this kind."""
    try:
        sealed = urlsafe_b64decode(token.removeprefix(_VERSION).encode("ascii"))
    except (binascii.Error, ValueError):
        sealed = b""
    position = sealed[_CHECK_BYTES:]
    if _seal(position, kind) != token:
        raise BadToken(
            f"starting_token is not one that this plugin gave out for this list ({kind}); list from the start"
        )
    return position


def take_page(
    items: Iterable[tuple[str, T]], *, max_entries: int, starting_token: str, kind: str
) -> tuple[list[T], str]:
    """One page of `items`, and the token of the next page, empty when this is the last one.

    `items` are pairs of a key, unique in the list, and an entry, in any order and already filtered.
    `max_entries` 0 means no limit. Raises BadToken.
    """
    ordered = sorted(((position_of(key), item) for key, item in items), key=lambda pair: pair[0])
    if starting_token:
        start = decode_token(starting_token, kind)
        ordered = [pair for pair in ordered if pair[0] > start]
    if not max_entries or len(ordered) <= max_entries:
        return [item for _, item in ordered], ""
    page = ordered[:max_entries]
    return [item for _, item in page], _seal(page[-1][0], kind)


def _seal(position: bytes, kind: str) -> str:
    check = hashlib.sha256(kind.encode() + b"\0" + position).digest()[:_CHECK_BYTES]
    return _VERSION + urlsafe_b64encode(check + position).decode("ascii")
