"""What the kernel says about a path that the orchestrator gave, as an error that the orchestrator understands.

A path below a file, a name that is too long, a loop of symlinks, a file where a directory should be: nothing of
that is a defect of the driver, so it is FAILED_PRECONDITION with the path and the kernel's reason. Everything else
passes through. Mount options are never quoted: they may be secret.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from moorage.host.mount import ensure_unmounted
from moorage.spec.errors import FailedPrecondition, InvalidArgument, Unavailable
from moorage.spec.locks import normal_path as normal

__all__ = ["about_path", "normal", "unmount"]

_UNSUITABLE: Final = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP, errno.ENAMETOOLONG),
        *(errno.EINVAL, errno.EACCES, errno.EPERM, errno.ENXIO, errno.ENOTBLK, errno.EXDEV),
    }
)
_BUSY_S: Final = 3.0
_POLL_S: Final = 0.02


@contextmanager
def about_path(path: str, what: str) -> Iterator[None]:
    """Translate inside the block; `what` reads like "volume 'x' cannot be staged".

    Raises FailedPrecondition for a path that will not do, Unavailable for one that is busy, InvalidArgument for
    mount options that are none.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO)
        if error.errno == errno.EBUSY:
            raise Unavailable(f"{what} at {path!r}, which a process still uses; end it and repeat the call") from error
        if error.errno in _UNSUITABLE:
            raise FailedPrecondition(f"{what} at {path!r}: {reason}; give another path or mend this one") from error
        raise
    except ValueError as error:
        raise InvalidArgument(f"{what} at {path!r}: the mount flags ask for more than a mount; change them") from error


def unmount(path: str) -> bool:
    """Unmount what is at `path`, waiting a moment for users that come and go; False when there was nothing.

    Such users are our own: a statfs, or the freeze of a snapshot that is being cut. Raises OSError, EBUSY for a
    user that stays.
    """
    deadline_s = time.monotonic() + _BUSY_S
    while True:
        try:
            return ensure_unmounted(path)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= deadline_s:
                raise
        time.sleep(_POLL_S)
