"""The error tree of the CSI layer: what a driver raises and what a client gets.

    CsiError                            code                  final
    ├── InvalidArgument                 INVALID_ARGUMENT      yes
    ├── NotFound                        NOT_FOUND             yes
    │   ├── VolumeNotFound
    │   ├── SnapshotNotFound
    │   └── NodeNotFound
    ├── AlreadyExists                   ALREADY_EXISTS        yes
    ├── PermissionDenied                PERMISSION_DENIED     yes
    ├── Unauthenticated                 UNAUTHENTICATED       yes
    ├── ResourceExhausted               RESOURCE_EXHAUSTED    yes
    ├── FailedPrecondition              FAILED_PRECONDITION   yes
    │   └── VolumeInUse
    ├── OutOfRange                      OUT_OF_RANGE          yes
    ├── Unimplemented                   UNIMPLEMENTED         yes
    ├── Internal                        INTERNAL              yes
    ├── DataLoss                        DATA_LOSS             yes
    ├── Unknown                         UNKNOWN               yes
    ├── Aborted                         ABORTED               no
    │   ├── OperationPending
    │   └── BadToken
    ├── Cancelled                       CANCELLED             no
    ├── DeadlineExceeded                DEADLINE_EXCEEDED     no
    └── Unavailable                     UNAVAILABLE           no

`final` answers the one question that every orchestrator asks: may the operation still be running,
or something it made still exist? Not final: the caller must repeat the call until it is. The four
codes that are not final are those that external-provisioner treats so (contract: spec, section 2).

Only `moorage.rpc` turns these into gRPC statuses; this module knows no gRPC.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class Code(IntEnum):
    """The canonical status codes, numbered as gRPC numbers them."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


NOT_FINAL = frozenset({Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.ABORTED, Code.UNAVAILABLE})


class CsiError(Exception):
    """A CSI call failed. `message` is one sentence for a person; it must hold no secret."""

    code: ClassVar[Code] = Code.INTERNAL

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def final(self) -> bool:
        """True when nothing of the operation is still running or left behind."""
        return self.code not in NOT_FINAL


class InvalidArgument(CsiError):
    """A request field is missing, malformed or not supported."""

    code = Code.INVALID_ARGUMENT


class NotFound(CsiError):
    """An object named by the request does not exist."""

    code = Code.NOT_FOUND


class VolumeNotFound(NotFound):
    """No volume has this id."""

    def __init__(self, volume_id: str) -> None:
        super().__init__(f"volume {volume_id!r} does not exist")


class SnapshotNotFound(NotFound):
    """No snapshot has this id."""

    def __init__(self, snapshot_id: str) -> None:
        super().__init__(f"snapshot {snapshot_id!r} does not exist")


class NodeNotFound(NotFound):
    """No node has this id."""

    def __init__(self, node_id: str) -> None:
        super().__init__(f"node {node_id!r} does not exist")


class AlreadyExists(CsiError):
    """An object of this name exists and is not compatible with the request."""

    code = Code.ALREADY_EXISTS


class PermissionDenied(CsiError):
    """The identity behind the secrets may not do this."""

    code = Code.PERMISSION_DENIED


class Unauthenticated(CsiError):
    """The secrets do not authenticate."""

    code = Code.UNAUTHENTICATED


class ResourceExhausted(CsiError):
    """No space, or a limit is reached."""

    code = Code.RESOURCE_EXHAUSTED


class FailedPrecondition(CsiError):
    """The system is not in the state that the call needs; repeating the call alone does not help."""

    code = Code.FAILED_PRECONDITION


class VolumeInUse(FailedPrecondition):
    """The volume is published, staged, attached, or has dependants."""


class OutOfRange(CsiError):
    """The capacity range or an offset cannot be met."""

    code = Code.OUT_OF_RANGE


class Unimplemented(CsiError):
    """The driver does not offer this RPC."""

    code = Code.UNIMPLEMENTED


class Internal(CsiError):
    """A defect in the driver; its log has the details."""

    code = Code.INTERNAL


class DataLoss(CsiError):
    """Data is lost or corrupted beyond repair."""

    code = Code.DATA_LOSS


class Unknown(CsiError):
    """The peer answered with a code that says nothing."""

    code = Code.UNKNOWN


class Aborted(CsiError):
    """Repeat the call later."""

    code = Code.ABORTED


class OperationPending(Aborted):
    """Another operation on the same object is running."""


class BadToken(Aborted):
    """A starting_token is not one that this driver gave out; list again from the start."""


class Cancelled(CsiError):
    """The caller gave up; the operation may still be running."""

    code = Code.CANCELLED


class DeadlineExceeded(CsiError):
    """The deadline passed; the operation may still be running."""

    code = Code.DEADLINE_EXCEEDED


class Unavailable(CsiError):
    """The driver or its storage system cannot answer now."""

    code = Code.UNAVAILABLE


BY_CODE: dict[Code, type[CsiError]] = {kind.code: kind for kind in CsiError.__subclasses__() if "code" in kind.__dict__}


def error_for(code: int, message: str) -> CsiError:
    """The error a client raises for a status: the class of that code, `Unknown` for any other."""
    try:
        return BY_CODE[Code(code)](message)
    except (ValueError, KeyError):
        return Unknown(message)
