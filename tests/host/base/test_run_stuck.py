"""A child that waits in the kernel and ignores SIGKILL is given up and counted, not waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.base.run import CommandTimeout, abandoned_children, run_sync

pytestmark = pytest.mark.root


@pytest.fixture
def frozen_dir(tmp_path: Path) -> Iterator[Path]:
    """A mounted and frozen ext4 file system; it thaws when the test ends."""
    image, mount = tmp_path / "image", tmp_path / "mnt"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    run_sync(["mkfs.ext4", "-q", str(image)])
    run_sync(["mount", "-o", "loop", str(image), str(mount)])
    try:
        run_sync(["fsfreeze", "--freeze", str(mount)])
        yield mount
    finally:
        run_sync(["fsfreeze", "--unfreeze", str(mount)], check=False)
        run_sync(["umount", str(mount)])


def test_child_in_the_kernel_is_abandoned_and_counted(frozen_dir: Path) -> None:
    began = time.monotonic()
    with pytest.raises(CommandTimeout, match="waits in the kernel") as caught:
        run_sync(["touch", str(frozen_dir / "file")], timeout_s=0.2)
    assert time.monotonic() - began < 10
    assert caught.value.abandoned
    assert abandoned_children() == 1
    run_sync(["fsfreeze", "--unfreeze", str(frozen_dir)])
    deadline = time.monotonic() + 10
    while abandoned_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert abandoned_children() == 0
