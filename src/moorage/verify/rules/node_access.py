"""How a published volume may be used: read-only in every way, file system, mount flags, group."""

from __future__ import annotations

import os

from moorage.host.mountinfo import find_mount
from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import AccessMode, NodeCapability, VolumeCapability
from moorage.verify.content import Pattern
from moorage.verify.lab import Lab
from moorage.verify.needs import BLOCK, MOUNT, USE
from moorage.verify.rule import Danger, Facility, Severity, Skipped, expect, rule
from moorage.verify.targets import group_can_create, is_whole_file_system, write_refused
from moorage.verify.use import Use

_READERS = (AccessMode.SINGLE_NODE_READER_ONLY, AccessMode.MULTI_NODE_READER_ONLY)
_FILE_SYSTEMS = ("ext4", "xfs", "ext3", "btrfs")
_FLAG = "noatime"
_GID = 64207


async def _expect_readonly(use: Use, pattern: Pattern, how: str) -> None:
    """The target of a volume that was written before refuses writes, and shows what was written."""
    refused = await use.lab.io(write_refused, use.target)
    expect(refused, f"{use.target} was published {how} and took a write", use.lab.last)
    await use.expect_pattern(pattern, f"at a target that was published {how}")


@rule(
    "node.readonly-refuses-writes",
    section="NodePublishVolume",
    title="a file system published read-only cannot be written to",
    sends="a mounted volume with a file in it, published again with readonly=true; a write",
    demands="the kernel refuses the write, and the file can be read",
    needs=MOUNT,
    danger=(Danger.CREATES,),
)
async def readonly_refuses_writes(lab: Lab) -> None:
    await _published_readonly(lab, lab.capability(block=False))


@rule(
    "node.block-readonly-refuses-writes",
    section="NodePublishVolume",
    title="a block device published read-only cannot be written to",
    sends="a block volume that was written, published again with readonly=true; a write to the device",
    demands="the kernel refuses the write (a read-only bind mount of a device node is not enough), reading goes",
    needs=BLOCK,
    danger=(Danger.CREATES,),
)
async def block_readonly_refuses_writes(lab: Lab) -> None:
    await _published_readonly(lab, lab.capability(block=True))


async def _published_readonly(lab: Lab, capability: VolumeCapability) -> None:
    use = await lab.use(await lab.create(volume_capabilities=(capability,)), capability)
    pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=4096)
    await use.write(pattern)
    await use.unpublish()
    await use.publish(readonly=True)
    await _expect_readonly(use, pattern, "with readonly=true")
    await use.unpublish()
    await use.publish()
    refused = await lab.io(write_refused, use.target)
    expect(not refused, "after it was published read-only once, the volume can no longer be written to", lab.last)
    await use.end()


@rule(
    "node.reader-only-refuses-writes",
    section="NodePublishVolume",
    title="a volume in a reader-only mode cannot be written to",
    sends="a volume written as SINGLE_NODE_WRITER, then published with a ..._READER_ONLY mode and readonly=false",
    demands="the kernel refuses the write, in every reader-only mode that the driver has",
    severity=Severity.SHOULD,
    needs=USE,
    danger=(Danger.CREATES,),
)
async def reader_only_refuses_writes(lab: Lab) -> None:
    tried = 0
    for mode in _READERS:
        writer, reader = lab.capability(), lab.capability(mode)
        exchange = await lab.settle(lab.create_request(volume_capabilities=(writer, reader)))
        if exchange.code is Code.INVALID_ARGUMENT:
            continue
        tried += 1
        volume = exchange.response(m.CreateVolumeResponse).volume
        use = await lab.use(volume, writer)
        pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=4096)
        await use.write(pattern)
        await use.end()
        again = await lab.use(volume, reader)
        await _expect_readonly(again, pattern, f"as {mode.name}")
        await again.end()
    if not tried:
        raise Skipped("the driver makes no volumes that can be both written and reader-only")


@rule(
    "node.ro-flag-refuses-writes",
    section="NodeStageVolume",
    title="a volume mounted with the flag ro cannot be written to",
    sends="a volume with a file in it, staged and published again with the mount flag ro",
    demands="the flag is refused, or the write is",
    needs=MOUNT,
    danger=(Danger.CREATES,),
)
async def ro_flag_refuses_writes(lab: Lab) -> None:
    writer = lab.capability(block=False)
    volume = await lab.create(volume_capabilities=(writer,))
    use = await lab.use(volume, writer)
    pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=4096)
    await use.write(pattern)
    await use.end()
    again = await lab.placed(volume, lab.capability(block=False, mount_flags=("ro",)))
    exchange = await again.attempt()
    if exchange.ok:
        await _expect_readonly(again, pattern, "with the mount flag ro")
    await again.end()


@rule(
    "node.fs-type-applied",
    section="NodeStageVolume",
    title="a volume gets the file system that was asked for",
    sends=f"volumes with the fs_type {', '.join(_FILE_SYSTEMS)}, as far as CreateVolume takes them, to a target path",
    demands="mountinfo shows this file system, where volumes are file systems on devices of their own",
    needs=MOUNT,
    danger=(Danger.CREATES,),
)
async def fs_type_applied(lab: Lab) -> None:
    tried = 0
    for fs_type in _FILE_SYSTEMS:
        use = await _made_with(lab, lab.capability(block=False, fs_type=fs_type))
        if use is None:
            continue
        entry = await lab.io(find_mount, use.target)
        if entry is None or not is_whole_file_system(entry):
            raise Skipped("volumes are not file systems on devices of their own")
        tried += 1
        expect(entry.fs_type == fs_type, f"{fs_type} was asked for and {entry.fs_type} is mounted", lab.last)
        await use.end()
    if not tried:
        raise Skipped("the driver makes no volumes of this size with any of these file systems")


async def _made_with(lab: Lab, capability: VolumeCapability) -> Use | None:
    """A new volume in use with this capability; None when CreateVolume or the node refuses it."""
    exchange = await lab.settle(lab.create_request(volume_capabilities=(capability,)))
    if not exchange.ok:
        return None
    use = await lab.placed(exchange.response(m.CreateVolumeResponse).volume, capability)
    if (await use.attempt()).ok:
        return use
    await use.end()
    return None


@rule(
    "node.mount-flags-applied",
    section="NodeStageVolume",
    title="a volume is mounted with the flags that were asked for",
    sends=f"a volume with the mount flag {_FLAG}, to a target path",
    demands="mountinfo shows the flag at the target path",
    needs=MOUNT,
    danger=(Danger.CREATES,),
)
async def mount_flags_applied(lab: Lab) -> None:
    use = await _made_with(lab, lab.capability(block=False, mount_flags=(_FLAG,)))
    if use is None:
        raise Skipped(f"the driver does not take the mount flag {_FLAG}")
    entry = await lab.io(find_mount, use.target)
    found = () if entry is None else (*entry.options, *entry.super_options)
    expect(_FLAG in found, f"the mount has the options {', '.join(found) or 'of none'}, without {_FLAG}", lab.last)
    await use.end()


@rule(
    "node.mount-group",
    section="VolumeCapability",
    title="the group that was asked for can use the volume",
    sends=f"a volume with volume_mount_group {_GID}; a file made there by root, one by an unprivileged process",
    demands="a process of that group can make files, and new files belong to the group",
    severity=Severity.SHOULD,
    needs=(*MOUNT, NodeCapability.VOLUME_MOUNT_GROUP, Facility.ROOT),
    danger=(Danger.CREATES, Danger.ROOT),
)
async def mount_group(lab: Lab) -> None:
    capability = lab.capability(block=False, group=str(_GID))
    use = await lab.use(await lab.create(volume_capabilities=(capability,)), capability)
    can = await lab.io(group_can_create, use.target, gid=_GID, name="made-by-the-group")
    if can is None:
        raise Skipped("setpriv is not installed; it is part of util-linux")
    expect(can, f"a process of the group {_GID} cannot make a file in the volume", lab.last)
    pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=4096)
    await use.write(pattern)
    found = (await lab.io(os.stat, use.place(pattern))).st_gid
    expect(found == _GID, f"a new file belongs to the group {found} and not to {_GID}", lab.last)
    await use.end()
