"""A running driver with objects in it, and directories full of traps: what hostile requests are sent to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc.aio
from tests.support.adversary import NODE, ServedLocal

from moorage.host.mountinfo import mounts_below, read_mounts
from moorage.rpc.client import Client
from moorage.spec import messages as m
from moorage.spec.rules import Rpc
from moorage.spec.types import AccessMode, BlockAccess, CapacityRange, MountAccess, VolumeCapability

MIB: Final = 1 << 20
MOUNT: Final = VolumeCapability(AccessMode.SINGLE_NODE_MULTI_WRITER, MountAccess())
BLOCK: Final = VolumeCapability(AccessMode.SINGLE_NODE_MULTI_WRITER, BlockAccess())
FORBIDDEN: Final = frozenset(
    {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.DEADLINE_EXCEEDED}
)
CONTROLS: Final = frozenset("\0\n\r\x1b\x7f")


@dataclass
class Place:
    """A running driver, the objects in it, and the directories that the test looks at."""

    driver: ServedLocal
    channel: grpc.aio.Channel
    base: Path
    play: Path
    outside: Path
    volume_ids: tuple[str, ...] = ()
    snapshot_ids: tuple[str, ...] = ()
    group_ids: tuple[str, ...] = ()

    async def raw(self, path: str, body: bytes, *, timeout_s: float = 60.0) -> bytes:
        """Make a call with these bytes. Raises AioRpcError."""
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(path)
        return await method(body, timeout=timeout_s)

    async def send(self, rpc: Rpc, raw: bytes) -> str:
        """Make a call; what is wrong with its outcome, or an empty string."""
        try:
            if rpc.streaming:
                method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self.channel.unary_stream(rpc.path)
                async for body in method(raw, timeout=60):
                    rpc.response_proto.FromString(body)
            else:
                rpc.response_proto.FromString(await self.raw(rpc.path, raw))
        except grpc.aio.AioRpcError as error:
            return self._problem_of(error)
        return ""

    def _problem_of(self, error: grpc.aio.AioRpcError) -> str:
        details = error.details() or ""
        said = f"{error.code().name}: {details}"
        if error.code() in FORBIDDEN:
            where = [line for line in self.driver.log_tail(40).splitlines() if "rpc.defect" in line]
            return f"{error.code().name} {where[-1].partition('where=')[2] if where else details}"
        if not 0 < len(details.encode()) <= 1024:
            return f"a message of {len(details.encode())} bytes with {said[:80]}"
        if set(details) & CONTROLS:
            return f"control characters in {said!r}"
        if "grpc-status-details-bin" in dict(error.trailing_metadata() or ()):
            return f"details with {said}"
        return ""


async def furnish(place: Place) -> None:
    client, play = place.driver.client, place.play
    volumes = [await create(client, f"volume {number}", BLOCK if number == 1 else MOUNT) for number in range(4)]
    for number, volume_id in enumerate(volumes[:2]):
        capability = (MOUNT, BLOCK)[number]
        staging, target = f"{play}/staging-{number}", f"{play}/target-{number}"
        await client.node_stage_volume(m.NodeStageVolumeRequest(volume_id, staging, capability))
        await client.node_publish_volume(m.NodePublishVolumeRequest(volume_id, target, capability, staging))
    await client.controller_publish_volume(m.ControllerPublishVolumeRequest(volumes[0], NODE, MOUNT))
    cut = [await client.create_snapshot(m.CreateSnapshotRequest(each, f"of {each}")) for each in volumes[:2]]
    group = await client.create_volume_group_snapshot(
        m.CreateVolumeGroupSnapshotRequest("group", (volumes[0], volumes[2]))
    )
    place.volume_ids = tuple(volumes)
    place.snapshot_ids = tuple(each.snapshot.snapshot_id for each in cut)
    place.group_ids = (group.group_snapshot.group_snapshot_id,)


async def create(client: Client, name: str, capability: VolumeCapability) -> str:
    request = m.CreateVolumeRequest(name, (capability,), CapacityRange(64 * MIB))
    return (await client.create_volume(request)).volume.volume_id


def make_playground(play: Path, outside: Path) -> None:
    """Directories to be mounted on, and traps: what must not be followed, overwritten or removed."""
    for path in (outside / "directory", play / "staging-0", play / "staging-1", play / "full", play / "empty"):
        path.mkdir(parents=True)
    (outside / "directory" / "file").write_text("keep")
    (outside / "file").write_text("keep")
    (play / "full" / "file").write_text("keep")
    (play / "file").write_text("keep")
    (play / "link").symlink_to(outside / "directory")
    (play / "filelink").symlink_to(outside / "file")
    (play / "dangling").symlink_to(outside / "nothing")
    (play / "loop").symlink_to(play / "loop")
    os.mkfifo(play / "fifo")


def paths_in(play: Path) -> tuple[str, ...]:
    """Paths that stay in the playground however they are read."""
    names = (
        *("staging-0", "staging-1", "target-0", "target-1", "full", "empty", "file", "link", "filelink", "dangling"),
        *(
            "loop",
            "loop/x",
            "fifo",
            "file/below",
            "new",
            "new/deep/er",
            "empty/../empty",
            "./empty",
            "empty/",
            "empty//",
        ),
        *("target-0/", "target-0/.", "staging-0/../target-0", "a b", "a\nb", "-rf", "$(touch pwned)", "\u00e9" * 64),
        *(
            "x" * 255,
            "x" * 256,
            "x/" * 2500,
            "\\",
            "nul\0byte",
            "target-0/inside",
            "\udcff".encode("utf-8", "replace").decode(),
        ),
    )
    return tuple(f"{play}/{name}" for name in names)


def state_of(directory: Path) -> dict[str, str]:
    """What is below a directory, with the content of files."""
    return {
        str(path.relative_to(directory)): path.read_text() if path.is_file() else "" for path in directory.rglob("*")
    }


def foreign_mounts(place: Place) -> set[str]:
    """Mounts at paths that nobody gave."""
    given = (f"{place.play}/", f"{place.driver.state_dir}/")
    return {each.mount_point for each in read_mounts() if not each.mount_point.startswith((*given, "/tmp/"))} | {
        each.mount_point for each in mounts_below(str(place.base)) if not each.mount_point.startswith(given)
    }
