"""What the kernel says about a pool, as the errors that the orchestrator understands.

A full pool is RESOURCE_EXHAUSTED, a pool that cannot be written is UNAVAILABLE (an administrator can mend it, and
until then nothing is decided); everything else passes through and becomes INTERNAL with its text in the log.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from moorage.spec.errors import OutOfRange, ResourceExhausted, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_UNUSABLE = frozenset(
    {errno.EROFS, errno.ESHUTDOWN, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EMFILE, errno.ENFILE}
)


@contextmanager
def storage_errors(what: str, pool: str) -> Iterator[None]:
    """Turn OSError inside the block into a CSI error; `what` reads like "volume 'x' cannot be created"."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ResourceExhausted(f"{what}: pool {pool!r} is full; free space or use another pool") from error
        if error.errno == errno.EFBIG:
            raise OutOfRange(f"{what}: the file system of pool {pool!r} cannot hold a file of that size") from error
        if error.errno in _UNUSABLE:
            raise Unavailable(f"{what}: pool {pool!r} cannot be used now ({error.strerror}); repair it") from error
        raise
