"""Data on a node: it comes back, belongs to one volume, and is never formatted away."""

from __future__ import annotations

from moorage.host.mountinfo import find_mount
from moorage.verify.content import Pattern, digest_of
from moorage.verify.lab import Lab
from moorage.verify.needs import BLOCK, MOUNT, USE
from moorage.verify.rule import Danger, Facility, Severity, expect, rule
from moorage.verify.use import Use

_MIB = 1 << 20
_LUKS = b"LUKS\xba\xbe\x00\x01aes" + bytes(29) + b"xts-plain64"
_EXT = ("ext2", "ext3", "ext4")


@rule(
    "node.data-survives-republish",
    section="NodePublishVolume",
    title="data is there again after the volume was taken from the node and brought back",
    sends="write, unpublish, unstage, detach; attach, stage, publish elsewhere, read",
    demands="the bytes are those written",
    needs=USE,
    danger=(Danger.CREATES,),
)
async def data_survives_republish(lab: Lab) -> None:
    volume = await lab.create()
    use = await lab.use(volume)
    pattern = Pattern(seed=lab.random.getrandbits(32))
    await use.write(pattern)
    await use.end()
    again = await lab.use(volume)
    await again.expect_pattern(pattern, "when the volume came back to the node")
    await again.end()


@rule(
    "node.volumes-are-separate",
    section="NodePublishVolume",
    title="two mounted volumes have nothing in common",
    sends="two mounted volumes in use at the same time, a file written to each",
    demands="each volume holds its own file and not the other's",
    needs=MOUNT,
    danger=(Danger.CREATES,),
)
async def volumes_are_separate(lab: Lab) -> None:
    capability = lab.capability(block=False)
    uses = [await lab.use(await lab.create(volume_capabilities=(capability,)), capability) for _ in range(2)]
    patterns = [Pattern(seed=lab.random.getrandbits(32), size_bytes=4096) for _ in uses]
    for use, pattern in zip(uses, patterns, strict=True):
        await use.write(pattern)
    for use, own, others in zip(uses, patterns, reversed(patterns), strict=True):
        await use.expect_pattern(own, "after a write to the other volume")
        shared = await use.holds(others)
        expect(not shared, "a file that was written to one volume is in the other one, too", lab.last)
        await use.end()


@rule(
    "node.other-fs-type-keeps-data",
    section="NodeStageVolume",
    title="a volume that has a file system is not formatted when another one is asked for",
    sends="a mounted volume with a file in it; stage and publish with another fs_type; then as at first",
    demands="a refusal or the file system that is there; the file is still in the volume",
    needs=MOUNT,
    danger=(Danger.CREATES,),
)
async def other_fs_type_keeps_data(lab: Lab) -> None:
    capability = lab.capability(block=False)
    volume = await lab.create(volume_capabilities=(capability,))
    use = await lab.use(volume, capability)
    pattern = Pattern(seed=lab.random.getrandbits(32))
    await use.write(pattern)
    entry = await lab.io(find_mount, use.target)
    await use.end()
    other = "xfs" if entry is not None and entry.fs_type in _EXT else "ext4"
    wrong = await lab.placed(volume, lab.capability(block=False, fs_type=other))
    if (await wrong.attempt()).ok:
        await wrong.expect_pattern(pattern, f"after the volume was staged with fs_type {other}")
    await wrong.end()
    again = await lab.use(volume, capability)
    await again.expect_pattern(pattern, f"after the volume was staged with fs_type {other} in between")
    await again.end()


@rule(
    "node.foreign-signature-kept",
    section="NodeStageVolume",
    title="a volume that holds something else than a file system is not formatted",
    sends="a block volume with a LUKS header and data written to it, then staged and published as a mount",
    demands="a refusal, and every byte is still there",
    severity=Severity.SHOULD,
    needs=(*BLOCK, Facility.MOUNT),
    danger=(Danger.CREATES,),
)
async def foreign_signature_kept(lab: Lab) -> None:
    await _not_formatted(lab, _LUKS, "a LUKS header")


@rule(
    "node.unknown-data-kept",
    section="NodeStageVolume",
    title="a volume that holds data in no known format is not formatted",
    sends="a block volume with random bytes written to it, then staged and published as a mount",
    demands="a refusal, and every byte is still there: what has no known signature is not therefore empty",
    severity=Severity.ADVICE,
    needs=(*BLOCK, Facility.MOUNT),
    danger=(Danger.CREATES,),
)
async def unknown_data_kept(lab: Lab) -> None:
    await _not_formatted(lab, b"", "random data")


async def _not_formatted(lab: Lab, header: bytes, what: str) -> None:
    block, mount = lab.capability(block=True), lab.capability(block=False)
    volume = await lab.create_or_skip("both mount and block access", volume_capabilities=(block, mount))
    use = await lab.use(volume, block)
    await use.write(Pattern(seed=lab.random.getrandbits(32), size_bytes=_MIB))
    if header:
        await lab.io(_overwrite, use.target, header)
    before = await _digest(use)
    await use.end()
    wrong = await lab.placed(volume, mount)
    exchange = await wrong.attempt()
    await wrong.end()
    again = await lab.use(volume, block)
    kept = await _digest(again) == before
    expect(kept, f"the volume held {what} and was overwritten when it was staged as a file system", exchange)
    expect(not exchange.ok, f"a volume that holds {what} was published as a file system", exchange)
    await again.end()


async def _digest(use: Use) -> str:
    return await use.lab.io(digest_of, use.target, size_bytes=_MIB)


def _overwrite(device: str, header: bytes) -> None:
    with open(device, "r+b", buffering=0) as file:
        file.write(header.ljust(4096, b"\0"))
