"""Texts for people, cut to what the specification allows: a long explanation must not turn an answer into an error.

Only fields named `message` are cut. Everything else that is too long stays a problem of the driver, because to cut
an id or a parameter would change its meaning.
"""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import Struct, structs

from moorage.spec.rules import STRING_LIMIT_BYTES

StructT = TypeVar("StructT", bound=Struct)
_ELLIPSIS = "…"


def with_short_messages(value: StructT) -> StructT:
    """`value` with each `message` in it, however deep, cut between characters to the limit of a string."""
    changes: dict[str, Any] = {}
    for name in value.__struct_fields__:
        old = getattr(value, name)
        new: Any = old
        if name == "message" and isinstance(old, str):
            new = shortened(old)
        elif isinstance(old, Struct):
            new = with_short_messages(old)
        elif isinstance(old, tuple):
            new = tuple([with_short_messages(item) if isinstance(item, Struct) else item for item in old])
        if new != old:
            changes[name] = new
    return structs.replace(value, **changes) if changes else value


def shortened(text: str, *, limit_bytes: int = STRING_LIMIT_BYTES) -> str:
    """`text` in at most `limit_bytes` of UTF-8, with an ellipsis when something was cut."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit_bytes:
        return text
    return raw[: limit_bytes - len(_ELLIPSIS.encode())].decode("utf-8", "ignore") + _ELLIPSIS
