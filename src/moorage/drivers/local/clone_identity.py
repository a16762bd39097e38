"""Gives the file system on a cloned image a UUID of its own, so that source and clone can be mounted together.

The UUID follows from the volume's id, so that a replay after a crash asks for the same one. Only file systems are
touched, and only those of volumes that are mounted: a raw block volume is a copy to the last byte.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

from moorage.base.log import get_logger
from moorage.base.run import CommandError
from moorage.host.filesystem import FilesystemError
from moorage.host.fsuuid import ensure_uuid
from moorage.host.loop import attach, detach
from moorage.host.probe import probe
from moorage.host.signature import Known
from moorage.spec.errors import FailedPrecondition

NAMESPACE: Final = uuid.UUID("6f8a2a1e-8e0c-5f7b-9d0e-2b7a4c1f9e55")
_BY_FILE: Final = ("ext2", "ext3", "ext4", "btrfs")

log = get_logger(__name__)


def own_uuid(volume_id: str) -> str:
    """The UUID that the file system of this volume gets."""
    return str(uuid.uuid5(NAMESPACE, volume_id))


def give_own_uuid(image: Path, volume_id: str) -> None:
    """Change the UUID of the file system on `image`, if there is one of a kind known here.

    xfs wants a device, so a loop device is attached for the moment; one that a killed attempt left is adopted.
    Raises FailedPrecondition when the file system is too damaged for it, and OSError.
    """
    content = probe(str(image))
    if not isinstance(content, Known) or content.fs_type not in (*_BY_FILE, "xfs"):
        return
    wanted = own_uuid(volume_id)
    try:
        if content.fs_type in _BY_FILE:
            ensure_uuid(str(image), content.fs_type, wanted)
        else:
            _on_loop_device(image, content.fs_type, wanted)
    except (FilesystemError, CommandError) as error:
        if content.fs_type.startswith("ext"):  # mounts beside its source all the same
            log.warning("local.clone.uuid_kept", volume=volume_id, reason=str(error))
            return
        raise FailedPrecondition(
            f"the {content.fs_type} file system of the source is damaged and cannot get a new UUID; repair it first"
        ) from error


def _on_loop_device(image: Path, fs_type: str, wanted: str) -> None:
    device = attach(str(image), direct_io=False)
    try:
        ensure_uuid(device.path, fs_type, wanted)
    finally:
        detach(device.path, expected_backing=str(image))
