"""How two messages differ that should be equal, in words. It makes no calls and knows no particular message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

__all__ = ["difference"]

_SHOWN_CHARACTERS = 200


def difference(first: Struct, second: Struct, *, fields: Sequence[str] = ()) -> str:
    """The fields of two messages of one kind that differ, with both values; empty when none does.

    All fields count, or only those in `fields`. For example `size_bytes 1 and then 2`, to follow "one name gives".
    """
    names = fields or [field.name for field in msgspec.structs.fields(first)]
    pairs = [(name, getattr(first, name), getattr(second, name)) for name in names]
    return ", ".join(f"{name} {_shown(old)} and then {_shown(new)}" for name, old, new in pairs if old != new)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        value = dict(value)
    text = repr(value) if isinstance(value, str | dict | tuple) else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
