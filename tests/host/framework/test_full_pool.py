"""A pool without room: said so, as RESOURCE_EXHAUSTED, and healed by making room."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.host.framework.conftest import MIB, Bench, mounted

from moorage.spec.errors import ResourceExhausted

pytestmark = pytest.mark.root


async def test_mkfs_without_room_is_resource_exhausted_and_heals(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)], check=True)
    bench = Bench(tmp_path)
    bench.pool.parent.mkdir(exist_ok=True)
    bench.pool = disk / "pool"
    bench.plugin = bench._make()
    await bench.plugin.start()
    filler = disk / "filler"
    try:
        capability = mounted(fs_type="xfs")
        volume = await bench.create(capability=capability, size_bytes=320 * MIB)
        filler.write_bytes(b"x" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 64 * 1024))
        with pytest.raises(ResourceExhausted, match="no room"):
            await bench.stage(volume, capability)
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=256m", str(disk)], check=True)
        await bench.stage(volume, capability)
        await bench.unstage(volume)
        await bench.delete(volume)
    finally:
        await bench.plugin.stop(1.0)
        assert [path for path in bench.sweep() if path != str(disk)] == []
        subprocess.run(["umount", str(disk)], check=False, stderr=subprocess.DEVNULL)
