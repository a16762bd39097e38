"""Exceptions of the layers below, as errors of the specification.

Pure. What is not named here is a defect and becomes INTERNAL at the edge, with its text in the log
only. Texts of exceptions are passed on only from classes whose texts are known to hold no secret.
"""

from __future__ import annotations

import errno
from socket import gaierror

from moorage.base.operations import OperationInterrupted
from moorage.base.run import CommandError, CommandNotFound, CommandTimeout
from moorage.base.threads import PoolClosed, PoolFull
from moorage.host.filesystem import FilesystemError
from moorage.spec.errors import CsiError, FailedPrecondition, Internal, OutOfRange, ResourceExhausted, Unavailable
from moorage.state.errors import JournalError

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})
_TROUBLE = frozenset({errno.EIO, errno.EROFS, errno.ENOTCONN, errno.ESTALE, errno.EBUSY, errno.EAGAIN})
_AWAY = frozenset({errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH})


def may_still_run(error: Exception) -> bool:
    """Whether, after this error, the operation may go on or be taken up again: nothing must be undone then."""
    known = as_csi_error(error)
    return known is not None and not known.final


def as_csi_error(error: Exception) -> CsiError | None:
    """The error to answer for an exception; None when it is a defect."""
    match error:
        case CsiError():
            return error
        case JournalError():
            return Unavailable(f"the driver cannot write its state: {error}; mend that and repeat the call")
        case PoolFull() | PoolClosed() | OperationInterrupted():
            return Unavailable("the driver is overloaded or stopping; repeat the call later")
        case FilesystemError():
            return FailedPrecondition(str(error))
        case CommandTimeout() | CommandNotFound():
            return Unavailable(str(error))
        case CommandError(program=program, returncode=status):
            return Internal(f"{program} failed with status {status}; the driver's log has its output")
        case OSError(errno=number) if number in _NO_SPACE:
            return ResourceExhausted("no space is left in the storage; free some or add to it")
        case OSError(errno=errno.EFBIG):
            return OutOfRange("the storage holds nothing of that size; ask for less")
        case TimeoutError() | ConnectionError() | gaierror() | OSError(errno=None):  # HTTP libraries give no number
            return Unavailable("the storage system does not answer; what was asked of it may go on; repeat the call")
        case OSError(errno=number) if number in _AWAY:
            return Unavailable("the storage system cannot be reached; mend the network and repeat the call")
        case OSError(errno=number) if number in _TROUBLE:
            name = errno.errorcode[number]
            return Unavailable(f"the storage cannot be used now ({name}); mend it and repeat the call")
        case _:
            return None
