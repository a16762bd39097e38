"""What proves to the API server who asks, and how it is renewed while the process runs.

A `Grant` is what one request carries. It changes when a token file is replaced, or when a plugin has given out
something new, and comparing grants tells whether it did. This module knows no transport.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from moorage.base.clock import Clock, SystemClock
from moorage.base.log import get_logger
from moorage.kube.config import ClientConfig
from moorage.kube.errors import Unreachable

__all__ = ["Credentials", "FixedCredentials", "Grant", "TokenFile", "bearer", "credentials_of"]

TOKEN_REREAD_S: Final = 10.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The value of the Authorization header, a client certificate with its key, or neither.

    `expires_at` is known only for what a plugin gave out.
    """

    authorization: str = field(default="", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    expires_at: datetime | None = None


class Credentials(Protocol):
    """Where grants come from."""

    async def grant(self) -> Grant:
        """The grant to use now; cheap while it is valid. Raises Unreachable when there is none to be had."""
        ...

    async def renew(self, refused: Grant) -> bool:
        """After the server answered 401 to `refused`: whether `grant` now gives another one."""
        ...


class FixedCredentials:
    """A grant that never changes."""

    def __init__(self, grant: Grant | None = None) -> None:
        self._grant = grant or Grant()

    async def grant(self) -> Grant:
        return self._grant

    async def renew(self, refused: Grant) -> bool:
        return False


class TokenFile:
    """A bearer token in a file that is replaced now and then, as the kubelet does with those of pods.

    The file is looked at when a grant is asked for and the last look is 10 seconds old. While it cannot be
    read, the last token goes on being used; `first` is the one before the file was ever read.
    """

    def __init__(self, path: Path, *, first: str = "", clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._grant = bearer(first) if first else None
        self._read_at_s: float | None = None

    async def grant(self) -> Grant:
        now_s = self._clock.monotonic()
        if self._read_at_s is None or now_s - self._read_at_s >= TOKEN_REREAD_S:
            self._read(now_s)
        if self._grant is None:
            raise Unreachable(
                f"token file {str(self._path)!r} cannot be read or is empty; put a token there",
                kind="credentials",
                sent=False,
            )
        return self._grant

    async def renew(self, refused: Grant) -> bool:
        self._read(self._clock.monotonic())
        return self._grant is not None and self._grant != refused

    def _read(self, now_s: float) -> None:
        self._read_at_s = now_s
        try:
            token = self._path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            _log.warning("kube.token_unreadable", path=str(self._path), error=type(error).__name__)
            return
        if not token:
            _log.warning("kube.token_empty", path=str(self._path))
        else:
            self._grant = bearer(token)


def bearer(token: str) -> Grant:
    """The grant for a bearer token."""
    return Grant(authorization=f"Bearer {token}")


def credentials_of(config: ClientConfig, *, environ: Mapping[str, str], clock: Clock | None = None) -> Credentials:
    """The credentials that `config` describes.

    As in client-go a plugin is asked only when there is no token, password or certificate. `environ` is what
    plugins run with. Client certificates of the configuration itself are the business of `moorage.kube.tls`.
    """
    user = config.user
    if user.token_file is not None:
        return TokenFile(user.token_file, first=user.token, clock=clock)
    if user.token:
        return FixedCredentials(bearer(user.token))
    if user.username or user.password:
        pair = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        return FixedCredentials(Grant(authorization=f"Basic {pair}"))
    if user.exec_plugin is not None and not user.certificate:
        from moorage.kube.exec_plugin import PluginCredentials

        return PluginCredentials(user.exec_plugin, config.cluster, environ=environ, clock=clock)
    return FixedCredentials()
