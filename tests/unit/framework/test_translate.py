"""Exceptions of the layers below, as codes that tell the caller whether to come back."""

from __future__ import annotations

import errno
import socket
import urllib.error

import pytest

from moorage.base.operations import OperationInterrupted
from moorage.base.threads import PoolClosed, PoolFull
from moorage.framework.translate import as_csi_error, may_still_run
from moorage.host.filesystem import FilesystemError
from moorage.spec.errors import Aborted, Code, InvalidArgument
from moorage.state.errors import JournalWriteFailed

TABLE: list[tuple[Exception, Code | None]] = [
    (InvalidArgument("x"), Code.INVALID_ARGUMENT),
    (Aborted("x"), Code.ABORTED),
    (JournalWriteFailed("/x", reason="full"), Code.UNAVAILABLE),
    (PoolFull(), Code.UNAVAILABLE),
    (PoolClosed(), Code.UNAVAILABLE),
    (OperationInterrupted("x"), Code.UNAVAILABLE),
    (FilesystemError("x"), Code.FAILED_PRECONDITION),
    (OSError(errno.ENOSPC, "secret"), Code.RESOURCE_EXHAUSTED),
    (OSError(errno.EFBIG, "secret"), Code.OUT_OF_RANGE),
    (OSError(errno.EDQUOT, "secret"), Code.RESOURCE_EXHAUSTED),
    (OSError(errno.EIO, "secret"), Code.UNAVAILABLE),
    (OSError(errno.ESTALE, "secret"), Code.UNAVAILABLE),
    (OSError(errno.ETIMEDOUT, "secret"), Code.UNAVAILABLE),
    (OSError(errno.ECONNREFUSED, "secret"), Code.UNAVAILABLE),
    (OSError(errno.EPIPE, "secret"), Code.UNAVAILABLE),
    (OSError(errno.EHOSTUNREACH, "secret"), Code.UNAVAILABLE),
    (TimeoutError("secret"), Code.UNAVAILABLE),
    (socket.gaierror(socket.EAI_AGAIN, "secret"), Code.UNAVAILABLE),
    (ConnectionResetError("secret"), Code.UNAVAILABLE),
    (urllib.error.URLError(ConnectionRefusedError("secret")), Code.UNAVAILABLE),
    (OSError(errno.EINVAL, "secret"), None),
    (KeyError("secret"), None),
]


@pytest.mark.parametrize(("error", "code"), TABLE, ids=[repr(error) for error, _ in TABLE])
def test_codes(error: Exception, code: Code | None) -> None:
    known = as_csi_error(error)
    assert (known.code if known is not None else None) == code
    assert may_still_run(error) == (code in (Code.UNAVAILABLE, Code.ABORTED))
    assert known is None or "secret" not in str(known)
