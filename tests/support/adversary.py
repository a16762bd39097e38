"""A real `moorage serve local` on a pool of its own, and what can be seen of it from outside.

Nothing here asks the driver: mounts come from the kernel's table, loop devices from sysfs, records from a copy of
the journal's file, so that what the driver says can be held against them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from moorage.host import loop
from moorage.host.mount import ensure_unmounted
from moorage.host.mountinfo import mounts_below
from moorage.spec import messages as m
from moorage.spec.errors import Code, CsiError
from moorage.testing.driver import DriverProcess

NODE = "node-1"
OTHER_NODE = "node-2"
_METRICS = re.compile(r"metrics=(127\.0\.0\.1:\d+)|\"metrics\":\"(127\.0\.0\.1:\d+)\"")


@contextmanager
def reflink_pool(directory: Path) -> Iterator[Path]:
    """An empty pool on an xfs of its own, mounted below `directory`."""
    image, mount_point = directory / "xfs.img", directory / "xfs"
    image.touch()
    with image.open("r+b") as file:
        file.truncate(2 << 30)
    mount_point.mkdir()
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount_point)], check=True)
    pool = mount_point / "pool"
    pool.mkdir()
    try:
        yield pool
    finally:
        sweep(directory, spare=mount_point)
        subprocess.run(["umount", str(mount_point)], check=True)


def sweep(directory: Path, *, spare: Path) -> list[str]:
    """Unmount and detach what a failed test left below `directory`, but for the mount `spare`; what that was."""
    left = [entry.mount_point for entry in mounts_below(str(directory)) if entry.mount_point != str(spare)]
    for path in left:
        ensure_unmounted(path, lazy=True)
    ours = {device.path for device in loops_below(spare)}
    for device in reversed(loop.list_loops()):
        if device.path in ours or device.backing_path in ours:
            left.append(device.path)
            with suppress(OSError):
                loop.detach(device.path, expected_backing=device.backing)
    return left


def loops_below(directory: Path) -> list[loop.LoopDevice]:
    """The loop devices whose file is below `directory`."""
    return [device for device in loop.list_loops() if device.backing_path.startswith(f"{directory}/")]


class ServedLocal(DriverProcess):
    """The local driver as a process, with everything on that it offers.

    log: a format and a level for its log.
    """

    def __init__(
        self,
        directory: Path,
        pool: Path,
        *,
        name: str = "local",
        arguments: Sequence[str] = (),
        log: tuple[str, str] = ("console", "info"),
    ) -> None:
        self.pool = pool
        self.loop_watch = directory / "loop.json"
        super().__init__(
            name,
            directory=directory,
            arguments=(
                *("--pool", str(pool), "--attach", "--node-id", NODE, "--attach-node", OTHER_NODE),
                *("--metrics-address", "127.0.0.1:0", "--log-format", log[0], "--log-level", log[1]),
                *arguments,
            ),
            environment={"MOORAGE_LOOP_WATCH": str(self.loop_watch)},
        )

    async def fetch(self, path: str) -> str:
        """What the driver answers over HTTP."""
        return await asyncio.to_thread(_get, f"http://{self._http_address()}{path}")

    async def idle(self, *, timeout_s: float = 60.0) -> None:
        """Wait until no operation runs, abandoned ones included."""
        deadline_s = time.monotonic() + timeout_s
        while running := json.loads(await self.fetch("/operations"))["operations"]:
            assert time.monotonic() < deadline_s, f"still running: {running}"
            await asyncio.sleep(0.05)

    def descriptors(self) -> Counter[str]:
        """What the process has open, by kind; sockets, whose number is the clients', are left out."""
        found: Counter[str] = Counter()
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                kind = os.readlink(entry)
                if not kind.startswith("socket:"):
                    found[re.sub(r"pipe:\[\d+\]", "pipe", kind)] += 1
        return found

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """The documents of the journal by kind, read from a copy of its file and its log."""
        with tempfile.TemporaryDirectory(dir=self.directory) as directory:
            for file in self.journal_files():
                if not file.name.endswith("-shm"):
                    shutil.copy(file, directory)
            connection = sqlite3.connect(next(Path(directory).glob("*.sqlite")))
            try:
                found: dict[str, list[dict[str, Any]]] = {}
                for kind, body in connection.execute("SELECT kind, body FROM record ORDER BY kind, id"):
                    found.setdefault(kind, []).append(json.loads(body))
                return found
            finally:
                connection.close()

    def journal_files(self) -> list[Path]:
        """The files of the journal."""
        return sorted(self.state_dir.rglob("journal.sqlite*"))

    def slowest_callback_s(self) -> tuple[float, str]:
        """CPU seconds of the slowest callback of the loop, and what it was; known once the process has ended."""
        found = json.loads(self.loop_watch.read_text())
        assert found["callbacks"] > 0
        slowest = found["slowest"][0]
        return float(slowest["cpu_s"]), str(slowest["callback"])

    def _http_address(self) -> str:
        found = _METRICS.findall(self.log_path.read_text(errors="replace"))
        assert found, f"the driver named no address: {self.log_tail()}"
        return next(str(text) for text in found[-1] if text)


async def listed(driver: ServedLocal) -> tuple[set[str], set[str]]:
    """The ids of all volumes and snapshots, as the driver lists them."""
    volumes = await driver.client.list_volumes(m.ListVolumesRequest())
    snapshots = await driver.client.list_snapshots(m.ListSnapshotsRequest())
    return {each.volume.volume_id for each in volumes.entries}, {each.snapshot_id for each in snapshots.entries}


async def tear_down(driver: ServedLocal) -> None:
    """Ask for everything to go, as an orchestrator does: in order, and again after ABORTED."""
    rows = driver.rows()

    async def must(rpc: str, request: Any) -> None:
        for _ in range(20):
            try:
                await driver.client.call(rpc, request)
                return
            except CsiError as error:
                if error.code is not Code.ABORTED:
                    raise AssertionError(f"{rpc}: {error.code.name}: {error.message}") from error
            await asyncio.sleep(0.1)
        raise AssertionError(f"{rpc} is never done: {request}")

    for row in rows.get("published", ()):
        await must("NodeUnpublishVolume", m.NodeUnpublishVolumeRequest(row["volume_id"], row["target_path"]))
    for row in rows.get("staged", ()):
        await must("NodeUnstageVolume", m.NodeUnstageVolumeRequest(row["volume_id"], row["staging_target_path"]))
    for row in rows.get("attachment", ()):
        await must("ControllerUnpublishVolume", m.ControllerUnpublishVolumeRequest(row["volume_id"]))
    for row in rows.get("group", ()):
        request = m.DeleteVolumeGroupSnapshotRequest(row["group_snapshot_id"], tuple(row["snapshot_ids"]))
        await must("DeleteVolumeGroupSnapshot", request)
    volumes, snapshots = await listed(driver)
    for volume_id in volumes:
        await must("DeleteVolume", m.DeleteVolumeRequest(volume_id))
    for snapshot_id in snapshots:
        await must("DeleteSnapshot", m.DeleteSnapshotRequest(snapshot_id))


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        text: str = response.read().decode()
        return text
