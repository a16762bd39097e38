"""Capabilities as they may be kept on disk: their mount flags can hold passwords.

Flags that everybody uses stay as they are. Of any other only a digest is kept, which is enough to tell whether a
repeated request asks for the same thing, and to find the flag again in such a request.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from msgspec import structs

from moorage.spec.redact import COMMON_FLAGS
from moorage.spec.types import MountAccess, VolumeCapability

_PREFIX: Final = "sealed:"


def sealed(capability: VolumeCapability) -> VolumeCapability:
    """The capability with its uncommon mount flags as digests; one that is sealed already stays as it is."""
    return _with_flags(capability, tuple(_digest(flag) for flag in capability.mount.mount_flags))


def unsealed(kept: VolumeCapability, given: VolumeCapability) -> VolumeCapability:
    """`kept` with the flags of `given` whose digests it has; `kept` itself where one of them is not among those."""
    known = {_digest(flag): flag for flag in given.mount.mount_flags}
    flags = kept.mount.mount_flags
    if any(flag.startswith(_PREFIX) and flag not in known for flag in flags):
        return kept
    return _with_flags(kept, tuple(known.get(flag, flag) for flag in flags))


def _with_flags(capability: VolumeCapability, flags: tuple[str, ...]) -> VolumeCapability:
    access = capability.access_type
    if not isinstance(access, MountAccess) or flags == access.mount_flags:
        return capability
    return structs.replace(capability, access_type=structs.replace(access, mount_flags=flags))


def _digest(flag: str) -> str:
    if flag in COMMON_FLAGS or flag.startswith(_PREFIX):
        return flag
    return _PREFIX + blake2b(flag.encode("utf-8", "replace"), digest_size=12).hexdigest()
