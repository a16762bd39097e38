"""Drivers that are particular about paths."""

from __future__ import annotations

import os

import msgspec

from moorage.host.mountinfo import find_mount
from moorage.spec.errors import Code
from moorage.testing.mutants.behind import refused
from moorage.testing.mutants.mutant import Call, Reply, mutant


@mutant("node.odd-paths", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def cuts_paths_at_blanks(call: Call) -> Reply:
    """A target path ends at its first blank, as in a shell script without quotes."""
    cut = call.request.target_path.split(" ", 1)[0]
    return await call.forward(msgspec.structs.replace(call.request, target_path=cut))


def _longest(call: Call) -> int:
    paths = (getattr(call.request, "target_path", ""), getattr(call.request, "staging_target_path", ""))
    return max(len(os.fsencode(path)) for path in paths)


@mutant("node.long-paths", on=("NodeStageVolume", "NodePublishVolume"))
async def takes_paths_for_short_strings(call: Call) -> Reply:
    """Paths of 128 bytes and more are refused, as if they were any other string."""
    if _longest(call) >= 128:
        return refused("a path is longer than 127 bytes", Code.INVALID_ARGUMENT)
    return await call.forward()


@mutant("node.longest-paths", on=("NodeStageVolume", "NodePublishVolume"))
async def has_a_buffer_for_paths(call: Call) -> Reply:
    """Paths of more than 1024 bytes are refused."""
    if _longest(call) > 1024:
        return refused("a path is longer than 1024 bytes", Code.INVALID_ARGUMENT)
    return await call.forward()


@mutant("node.target-already-there", on=("NodePublishVolume",))
async def makes_the_target_without_a_look(call: Call) -> Reply:
    """A target path that exists and is not mounted is answered with INTERNAL."""
    path = call.request.target_path
    if os.path.lexists(path) and find_mount(path) is None:
        return refused(f"mkdir {path}: file exists")
    return await call.forward()


@mutant("node.parent-untouched", on=("NodePublishVolume",))
async def opens_the_parent_to_everybody(call: Call) -> Reply:
    """The directory that holds the target gets the mode 0777."""
    reply = await call.forward()
    if reply.ok:
        os.chmod(os.path.dirname(call.request.target_path), 0o777)
    return reply
