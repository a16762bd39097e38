"""Planted secrets: values that nobody else has, looked for wherever they must not turn up."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from moorage.spec.rules import BY_REQUEST
from moorage.spec.types import Secrets
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab

__all__ = ["TOKENS_KEY", "LogTail", "canary", "leak_in", "token_of", "with_canary"]

SECRET_KEY: Final = "verify-canary"
"""A key that no driver expects, so that it must be ignored. Source: spec, "Secrets Requirements"."""
TOKENS_KEY: Final = "csi.storage.k8s.io/serviceAccount.tokens"
"""Where Kubernetes puts the tokens that a driver asks for in its CSIDriver object."""


def canary(lab: Lab) -> str:
    """A value that follows from the run's seed and the rule and is found nowhere by chance."""
    return f"canary{lab.random.getrandbits(96):024x}"


def with_canary(lab: Lab, request: Struct, value: str) -> Struct:
    """The request with the run's secrets and the canary among them, where its RPC takes secrets."""
    rpc = BY_REQUEST[type(request)]
    if not rpc.secret_fields:
        return request
    return msgspec.structs.replace(request, secrets=Secrets({**lab.secrets(rpc.name), SECRET_KEY: value}))


def token_of(value: str) -> str:
    """What Kubernetes puts under TOKENS_KEY, with `value` as the token."""
    return json.dumps({"verify": {"token": value, "expirationTimestamp": "2100-01-01T00:00:00Z"}})


def leak_in(exchanges: Iterable[Exchange], value: str) -> Exchange | None:
    """The first answer that has the canary in its message, details or response."""
    raw = value.encode()
    for exchange in exchanges:
        answer = exchange.answer
        if value in answer.message or any(raw in part for part in (answer.details, *answer.bodies)):
            return exchange
    return None


class LogTail:
    """What is written to a log file from now on. A log that is rotated meanwhile is read from its beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = self._size()

    def _size(self) -> int:
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0

    def grew(self) -> bool:
        """Whether anything was written since then."""
        return self._size() != self._start

    def line_with(self, value: str) -> str:
        """The first line with the canary, which is blotted out in it; empty when there is none. Raises OSError."""
        with self.path.open("rb") as file:
            file.seek(self._start if self._size() >= self._start else 0)
            for line in file:
                if value.encode() in line:
                    return line.decode(errors="replace").strip().replace(value, "<canary>")
        return ""
