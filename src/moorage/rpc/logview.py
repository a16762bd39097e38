"""Requests and responses as log values: redacted, and only when a line is really written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from moorage.spec.redact import redact


class Redacted(Mapping[str, Any]):
    """A message as a mapping without secrets and mount flags, made when a renderer first looks."""

    __slots__ = ("_seen", "_struct")

    def __init__(self, struct: Struct) -> None:
        self._struct = struct
        self._seen: Mapping[str, Any] | None = None

    def _mapping(self) -> Mapping[str, Any]:
        if self._seen is None:
            self._seen = redact(self._struct)
        return self._seen

    def __getitem__(self, key: str) -> Any:
        return self._mapping()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapping())

    def __len__(self) -> int:
        return len(self._mapping())

    def __repr__(self) -> str:
        return repr(self._mapping())
