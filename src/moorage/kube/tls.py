"""TLS contexts from certificates that may be replaced while the process runs.

A context is made anew when one of its files has changed, and connections are pooled by context, so a new
certificate is used from the next connection on without anything being restarted. Keys never touch a disk:
OpenSSL reads them from anonymous memory. This module knows no HTTP.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moorage.base.clock import Clock, SystemClock
from moorage.kube.config import Cluster, Pem, User
from moorage.kube.credentials import Grant
from moorage.kube.errors import Unreachable

__all__ = ["TlsContexts"]

REREAD_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Material:
    authority: bytes
    certificate: bytes
    key: bytes


class TlsContexts:
    """The context for connections to `cluster` as `user`; the files are looked at again after 10 seconds."""

    def __init__(self, cluster: Cluster, user: User, *, clock: Clock | None = None) -> None:
        self._cluster = cluster
        self._user = user
        self._clock = clock or SystemClock()
        self._read_at_s = 0.0
        self._from_files: _Material | None = None
        self._made_for: _Material | None = None
        self._context: ssl.SSLContext | None = None

    def context(self, grant: Grant) -> ssl.SSLContext:
        """The context to connect with now; a certificate in `grant` replaces that of the user.

        Raises Unreachable when a certificate cannot be read or used.
        """
        material = self._material()
        if grant.certificate:
            material = _Material(material.authority, grant.certificate, grant.key)
        if self._context is None or material != self._made_for:
            self._context = self._make(material)
            self._made_for = material
        return self._context

    def _material(self) -> _Material:
        now_s = self._clock.monotonic()
        if self._from_files is None or now_s - self._read_at_s >= REREAD_S:
            user = self._user
            try:
                found = _Material(_content(self._cluster.authority), _content(user.certificate), _content(user.key))
            except Unreachable:
                if self._from_files is None:
                    raise
            else:
                self._from_files = found
            self._read_at_s = now_s
        return self._from_files

    def _make(self, material: _Material) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        # As Go does: whatever the configuration trusts is an anchor, be it self-signed or not.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if self._cluster.insecure_skip_tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif material.authority:
            self._trust(context, material.authority)
        else:
            context.load_default_certs()
        if material.certificate:
            _identify(context, material)
        return context

    def _trust(self, context: ssl.SSLContext, authority: bytes) -> None:
        try:
            context.load_verify_locations(cadata=authority.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise _unusable(f"the certificate authority for {self._cluster.server} is not a PEM certificate") from error


def _identify(context: ssl.SSLContext, material: _Material) -> None:
    with _in_memory(material.certificate) as certificate, _in_memory(material.key) as key:
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise _unusable("the client certificate and its key are not PEM, encrypted, or do not match") from error


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise ValueError("the key is encrypted")


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A path to `content` that only this process has, for as long as the block runs."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _content(pem: Pem) -> bytes:
    if pem.path is None:
        return pem.data
    return _read(pem.path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(f"certificate file {str(path)!r} cannot be read ({error.strerror})") from error


def _unusable(what: str) -> Unreachable:
    return Unreachable(f"{what}; check the kubeconfig", kind="tls", sent=False)
