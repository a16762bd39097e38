"""Paths of any spelling and length, and what lies beside and below them."""

from __future__ import annotations

import os
import stat

from moorage.host.mountinfo import find_mount
from moorage.verify.content import Pattern
from moorage.verify.lab import Lab
from moorage.verify.needs import MOUNT, USE
from moorage.verify.rule import Danger, Severity, expect, rule
from moorage.verify.targets import long_path
from moorage.verify.use import Use

_ODD_NAMES = (
    "with two  blanks",
    "commas,and=signs:here",
    "tab\tand\\backslash",
    "quotes'and\"more",
    "-leading-dash",
    "$(touch x);&*?",
    "ünïcödé-日本語-🚢",
    "trailing-blank ",
    "..hidden..",
)
_LEAST_BYTES = 128
_LONG_BYTES = 3900


async def _works_at(lab: Lab, use: Use, target: str, what: str) -> None:
    """Publish at a path, write, read, unpublish: everything as at any other path."""
    pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=4096)
    await use.publish(target=target)
    expect(await lab.io(os.path.lexists, target), f"nothing is at {what} after NodePublishVolume", lab.last)
    await use.write(pattern)
    await use.expect_pattern(pattern, f"at {what}")
    await use.unpublish()
    expect(await lab.io(find_mount, target) is None, f"{what} is still mounted after NodeUnpublishVolume", lab.last)
    expect(not await lab.io(os.path.lexists, target), f"{what} is still there after NodeUnpublishVolume", lab.last)


@rule(
    "node.odd-paths",
    section="NodePublishVolume",
    title="target and staging paths may hold any character",
    sends="stage and publish at paths with blanks, commas, quotes, a backslash, a tab, a dash in front, non-ASCII text",
    demands="a mount at exactly this path, and nothing of it after unpublish and unstage",
    needs=USE,
    danger=(Danger.CREATES,),
)
async def odd_paths(lab: Lab) -> None:
    use = await lab.ready(await lab.create())
    if use.staging:
        use.staging = str(lab.directory / "staging, of two words\\é")
        await lab.io(os.mkdir, use.staging)
    await use.stage()
    for name in _ODD_NAMES:
        await _works_at(lab, use, str(lab.directory / name), f"the path with the name {name!r}")
    await use.unstage()
    if use.staging:
        left = await lab.io(find_mount, use.staging)
        expect(left is None, f"{use.staging!r} is still mounted after NodeUnstageVolume", lab.last)


async def _long_paths(lab: Lab, size_bytes: int) -> None:
    use = await lab.ready(await lab.create())
    target = long_path(str(lab.directory), size_bytes=size_bytes, last="target")
    await lab.io(os.makedirs, os.path.dirname(target), exist_ok=True)
    if use.staging:
        use.staging = long_path(str(lab.directory), size_bytes=size_bytes, last="staged")
        await lab.io(os.makedirs, use.staging, exist_ok=True)
    await use.stage()
    await _works_at(lab, use, target, f"a path of {len(os.fsencode(target))} bytes")
    await use.unstage()


@rule(
    "node.long-paths",
    section="NodePublishVolume",
    title=f"paths of {_LEAST_BYTES} bytes are accepted",
    sends=f"stage and publish at paths of {_LEAST_BYTES} bytes",
    demands="everything works as at short paths",
    needs=USE,
    danger=(Danger.CREATES,),
)
async def long_paths(lab: Lab) -> None:
    await _long_paths(lab, _LEAST_BYTES)


@rule(
    "node.longest-paths",
    section="NodePublishVolume",
    title="paths are accepted as long as the system allows",
    sends=f"stage and publish at paths of {_LONG_BYTES} bytes",
    demands="everything works as at short paths",
    severity=Severity.SHOULD,
    needs=USE,
    danger=(Danger.CREATES,),
)
async def longest_paths(lab: Lab) -> None:
    await _long_paths(lab, _LONG_BYTES)


@rule(
    "node.target-already-there",
    section="NodePublishVolume",
    title="an empty target path that exists already is no obstacle",
    sends="an empty directory (for a block volume an empty file) at the target path; NodePublishVolume",
    demands="OK: a call that was cut short leaves just that behind",
    severity=Severity.SHOULD,
    needs=USE,
    danger=(Danger.CREATES,),
)
async def target_already_there(lab: Lab) -> None:
    use = await lab.ready(await lab.create())
    await use.stage()
    target = lab.path()
    await lab.io(_make_empty, target, block=use.capability.is_block)
    await use.publish(target=target)
    pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=4096)
    await use.write(pattern)
    await use.end()
    again = await lab.use(use.volume)
    await again.expect_pattern(pattern, "after it was written at a target path that existed before")
    await again.end()


def _make_empty(path: str, *, block: bool) -> None:
    if block:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    else:
        os.mkdir(path, 0o750)


@rule(
    "node.parent-untouched",
    section="NodeUnpublishVolume",
    title="the directory around the target path is left as it is",
    sends="NodePublishVolume and NodeUnpublishVolume with a target path in a directory that holds a file",
    demands="directory, mode and file are as before",
    severity=Severity.SHOULD,
    needs=MOUNT,
    danger=(Danger.CREATES,),
)
async def parent_untouched(lab: Lab) -> None:
    capability = lab.capability(block=False)
    use = await lab.ready(await lab.create(volume_capabilities=(capability,)), capability)
    await use.stage()
    parent = lab.path("parent")
    await lab.io(os.mkdir, parent, 0o750)
    await lab.io(_make_empty, os.path.join(parent, "vol_data.json"), block=True)
    before = await lab.io(_seen, parent)
    await _works_at(lab, use, os.path.join(parent, "mount"), "a target path beside a file")
    after = await lab.io(_seen, parent)
    expect(before == after, f"the directory around the target was {before} and is {after}", lab.last)


def _seen(directory: str) -> str:
    """Mode and content of a directory, in words."""
    try:
        mode = stat.S_IMODE(os.stat(directory).st_mode)
        return f"{mode:04o} with {', '.join(sorted(os.listdir(directory))) or 'nothing'}"
    except FileNotFoundError:
        return "gone"
