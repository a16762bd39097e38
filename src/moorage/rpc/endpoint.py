"""Where a driver listens: parsing CSI_ENDPOINT and owning the socket file.

gRPC's C core binds over a live socket without a word, and on stop removes whatever socket lies at the
path, even one that another process has put there since. `ServerSocket` prevents both. It connects before it
binds, under a lock on the parent directory, so that of two starting servers one loses; and it hands gRPC the
address through a directory handle (`/proc/self/fd/N/csi.sock`), which is turned away before gRPC cleans up.
The specification allows nothing else beside the socket, so there is no lock file.

This module knows neither gRPC nor the services behind the socket.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

MAX_PATH_BYTES: Final = 107
SOCKET_MODE: Final = 0o600
_LOCK_TIMEOUT_S: Final = 5.0
_RELEASE_TIMEOUT_S: Final = 0.5
_LOCK_POLL_S: Final = 0.01
_CONNECT_TIMEOUT_S: Final = 1.0


class EndpointError(ValueError):
    """An endpoint cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address of a CSI driver: a unix socket at `path`, or (clients only) loopback TCP at `tcp`."""

    path: str = ""
    tcp: str = ""

    @property
    def target(self) -> str:
        """The address as gRPC takes it."""
        return f"unix:{self.path}" if self.path else f"dns:///{self.tcp}"

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.tcp}"


def parse_server_endpoint(text: str) -> Endpoint:
    """The endpoint that a driver is told to serve (CSI_ENDPOINT; spec, "Process contract").

    Accepts `unix:///abs/csi.sock`, `unix:/abs/csi.sock` and a bare absolute path, each ending in `.sock`.
    Raises EndpointError for anything else, TCP included, and when the directory does not exist.
    """
    if text.startswith("tcp:"):
        raise EndpointError(
            f"endpoint {text!r} is TCP, which would carry secrets in the clear; use a unix socket such as "
            "unix:///run/csi/csi.sock"
        )
    endpoint = Endpoint(path=_socket_path(text))
    if not endpoint.path.endswith(".sock"):
        raise EndpointError(
            f"endpoint {text!r} does not end in .sock, as the CSI specification demands; rename the socket"
        )
    parent = os.path.dirname(endpoint.path)
    if not os.path.isdir(parent):
        raise EndpointError(
            f"directory {parent!r} of endpoint {text!r} does not exist; create it, or mount it into the container"
        )
    return endpoint


def parse_client_endpoint(text: str) -> Endpoint:
    """The endpoint of a driver to call: any unix socket path, or `tcp://` with a loopback address and a port.

    The socket need not exist yet. Raises EndpointError with a sentence when the text means nothing.
    """
    if not text.startswith("tcp:"):
        return Endpoint(path=_socket_path(text))
    host, port = _host_and_port(text)
    if not host or port is None:
        raise EndpointError(
            f"endpoint {text!r} is not of the form tcp://HOST:PORT; write, for example, tcp://127.0.0.1:10000"
        )
    if not _is_loopback(host):
        raise EndpointError(
            f"endpoint {text!r} is not on this machine, and CSI over TCP carries secrets in the clear; use a "
            "unix socket or a loopback address"
        )
    return Endpoint(tcp=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _socket_path(text: str) -> str:
    if not text:
        raise EndpointError("no endpoint is given; set CSI_ENDPOINT to, for example, unix:///run/csi/csi.sock")
    path = text
    if text.startswith("unix://"):
        path = text.removeprefix("unix://")
    elif text.startswith("unix:"):
        path = text.removeprefix("unix:")
    elif "://" in text:
        raise EndpointError(f"endpoint {text!r} has a scheme other than unix; use unix:///run/csi/csi.sock")
    if not path.startswith("/"):
        raise EndpointError(
            f"endpoint {text!r} names no absolute path; write it with three slashes, as unix:///run/csi/csi.sock"
        )
    if "\0" in path or path.endswith("/"):
        raise EndpointError(f"endpoint {text!r} names no socket file; use, for example, unix:///run/csi/csi.sock")
    path = os.path.normpath(path).replace("//", "/")
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise EndpointError(
            f"socket path {path!r} has {len(os.fsencode(path))} bytes and Linux allows {MAX_PATH_BYTES}; "
            "choose a shorter directory"
        )
    return path


def _host_and_port(text: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "", None
    return ("", None) if parts.path.strip("/") else (parts.hostname or "", port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ServerSocket:
    """The socket file of one server, from before the bind to after the stop.

    Use: `with socket.binding() as address: <listen at address>`, and `release()` before the server stops
    listening, then `close()` once it has. No method blocks longer than a few seconds.
    """

    def __init__(self, endpoint: Endpoint, *, mode: int = SOCKET_MODE) -> None:
        self.endpoint = endpoint
        self.mode = mode
        self._directory, self._name = os.path.split(endpoint.path)
        self._fd = -1
        self._identity: tuple[int, int] | None = None

    @contextlib.contextmanager
    def binding(self) -> Iterator[str]:
        """Yields the path to bind and listen at; afterwards the socket is ours and has its mode.

        Raises EndpointError when a live server answers at the path, or something there is not a socket. A
        socket that nobody listens on is replaced. Nothing is left open when the body raises.
        """
        try:
            self._fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise EndpointError(
                f"directory {self._directory!r} of the socket cannot be opened ({error.strerror}); create it "
                "or correct the endpoint"
            ) from error
        try:
            with self._directory_locked():
                self._remove_stale()
                old_umask = os.umask(0o177)
                try:
                    yield f"/proc/self/fd/{self._fd}/{self._name}"
                finally:
                    os.umask(old_umask)
                os.chmod(self._name, self.mode, dir_fd=self._fd)
                self._identity = self._found()
        except BaseException:
            self.close()
            raise

    def release(self) -> None:
        """Removes the socket file if it is still the one we made, and disarms gRPC's own removal."""
        if self._fd < 0:
            return
        # A directory that stays locked only leaves a stale socket, which the next server replaces.
        with contextlib.suppress(EndpointError), self._directory_locked(timeout_s=_RELEASE_TIMEOUT_S):
            if self._identity is not None and self._found() == self._identity:
                os.unlink(self._name, dir_fd=self._fd)
        self._identity = None
        with open(os.devnull, "rb") as null:
            os.dup2(null.fileno(), self._fd, inheritable=False)

    def close(self) -> None:
        """Gives the directory handle back; call it when nothing listens any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _found(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return (status.st_dev, status.st_ino) if stat.S_ISSOCK(status.st_mode) else (-1, -1)

    def _remove_stale(self) -> None:
        found = self._found()
        if found is None:
            return
        path = self.endpoint.path
        if found == (-1, -1):
            raise EndpointError(f"{path!r} exists and is not a socket; move it away or choose another endpoint")
        if is_live(f"/proc/self/fd/{self._fd}/{self._name}"):
            raise EndpointError(f"another process already serves {path!r}; stop it first, or choose another endpoint")
        os.unlink(self._name, dir_fd=self._fd)

    @contextlib.contextmanager
    def _directory_locked(self, *, timeout_s: float = _LOCK_TIMEOUT_S) -> Iterator[None]:
        """Serialises servers that start or stop in one directory, across containers too.

        File systems without flock on directories are left to the connect probe alone.
        """
        deadline = time.monotonic() + timeout_s
        locked = False
        while not locked:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EndpointError(
                        f"directory {self._directory!r} stays locked by another process; stop that process "
                        "and try again"
                    ) from None
                time.sleep(_LOCK_POLL_S)
            except OSError:
                break
        try:
            yield
        finally:
            if locked:
                fcntl.flock(self._fd, fcntl.LOCK_UN)


def is_live(path: str) -> bool:
    """Whether a process listens on the unix socket at `path`; a full backlog counts as live."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_TIMEOUT_S)
        try:
            probe.connect(path)
        except TimeoutError:
            return True
        except OSError as error:
            return error.errno not in {errno.ECONNREFUSED, errno.ENOENT}
    return True
