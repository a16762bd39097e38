"""The connection to a driver: made when first needed, and again when the driver has gone or fallen silent.

A channel that outlives its server is a trap: gRPC keeps dialling with growing pauses while a new driver
already listens, and peers are known to fall silent on a socket that looks healthy (grpc#42623, grpc-go#9330).
So each call compares the socket file with the one that was connected, which costs one `stat`, and a call that
ran into its deadline while nothing else was answered retires the connection. Calls that still run on a
retired connection keep it open until they end.

This module knows channels and sockets; it knows no CSI message.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, Final

import grpc.aio

from moorage.rpc.endpoint import Endpoint
from moorage.spec.errors import Unavailable

MAX_MESSAGE_BYTES: Final = 64 << 20
MAX_METADATA_BYTES: Final = 1 << 20

CHANNEL_OPTIONS: Final = (
    # Without this the authority is the percent-encoded path, which Rust servers reset (grpc#38142).
    ("grpc.default_authority", "localhost"),
    # Else a new channel to the same path would share the connection it is meant to replace.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # An error's text is metadata. Beyond 8 to 16 KiB, as when a driver quotes a log, gRPC would put the final
    # RESOURCE_EXHAUSTED in the place of the driver's code, and an operation that still runs would be given up.
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
)

Identity = tuple[int, int, int]


class Link:
    """One channel, with the calls that run on it."""

    __slots__ = ("answered_at", "channel", "identity", "methods", "retired", "running")

    def __init__(self, channel: grpc.aio.Channel, identity: Identity | None) -> None:
        self.channel = channel
        self.identity = identity
        self.methods: dict[str, Any] = {}
        self.running = 0
        self.retired = False
        self.answered_at = 0.0

    def unary(self, path: str) -> Any:
        """The multi-callable of a method with one answer, in bytes both ways."""
        method = self.methods.get(path)
        if method is None:
            method = self.methods[path] = self.channel.unary_unary(path)
        return method

    def stream(self, path: str) -> Any:
        """The multi-callable of a method with a stream of answers, in bytes both ways."""
        method = self.methods.get(path)
        if method is None:
            method = self.methods[path] = self.channel.unary_stream(path)
        return method


class Connection:
    """Gives out the current link to one endpoint. It belongs to one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.made = 0
        """How many channels were opened so far."""
        self._link: Link | None = None
        self._closed = False
        self._retired: set[Link] = set()
        self._closing: set[asyncio.Task[None]] = set()

    def acquire(self) -> Link:
        """The link for one call; give it back with `release`. Raises Unavailable when there is no socket."""
        if self._closed:
            raise RuntimeError(f"the client of {self.endpoint} is closed; make a new one")
        identity = self._identity()
        link = self._link
        if link is None or link.identity != identity:
            if link is not None:
                self._retire(link)
            channel = grpc.aio.insecure_channel(self.endpoint.target, options=CHANNEL_OPTIONS)
            link = self._link = Link(channel, identity)
            self.made += 1
        link.running += 1
        return link

    def release(self, link: Link, *, answered: bool) -> None:
        """A call on this link has ended; `answered` says that the peer was heard, be it with an error."""
        link.running -= 1
        if answered:
            link.answered_at = time.monotonic()
        if link.retired and not link.running:
            self._close_soon(link)

    def suspect(self, link: Link, *, since_s: float) -> None:
        """A call from `since_s` (monotonic) on met only silence: unless another was answered, dial anew."""
        if not link.retired and link.answered_at < since_s:
            self._retire(link)

    async def close(self) -> None:
        """Cancels what runs and closes every channel."""
        self._closed = True
        links = [*self._retired, *([self._link] if self._link else [])]
        self._link = None
        self._retired.clear()
        await asyncio.gather(*(link.channel.close() for link in links), *self._closing)

    def _identity(self) -> Identity | None:
        if not self.endpoint.path:
            return None
        try:
            status = os.stat(self.endpoint.path)
        except FileNotFoundError:
            raise Unavailable(
                f"socket {self.endpoint.path!r} does not exist; start the driver or correct the address"
            ) from None
        except OSError as error:
            raise Unavailable(
                f"socket {self.endpoint.path!r} cannot be reached ({error.strerror}); check its permissions"
            ) from None
        return status.st_dev, status.st_ino, status.st_mtime_ns

    def _retire(self, link: Link) -> None:
        link.retired = True
        self._retired.add(link)
        if self._link is link:
            self._link = None
        if not link.running:
            self._close_soon(link)

    def _close_soon(self, link: Link) -> None:
        if link not in self._retired:
            return
        self._retired.discard(link)
        task = asyncio.get_running_loop().create_task(link.channel.close(), name="close retired CSI channel")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
