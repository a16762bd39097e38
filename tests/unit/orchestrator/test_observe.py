"""What the mount table and the boot id do to the record of a volume."""

from __future__ import annotations

from msgspec.structs import replace
from tests.unit.orchestrator.setting import a_volume

from moorage.orchestrator.model import Mount, Mounted, Presence, VolumeRecord
from moorage.orchestrator.observe import observed


def mounted_volume(*paths: str) -> VolumeRecord:
    volume = a_volume(
        created=Presence.PRESENT,
        attached=Presence.PRESENT,
        staged=Presence.PRESENT,
        mounts=tuple(Mounted(path) for path in paths),
        wanted=tuple(Mount(path) for path in paths),
    )
    return replace(volume, actual=replace(volume.actual, boot_id="boot-1"))


def test_a_proved_mount_is_left_alone() -> None:
    volume = mounted_volume("/a")
    assert observed(volume, mount_points={"/a"}, boot_id="boot-1") is volume


def test_a_lost_mount_is_staged_and_published_again_but_not_attached() -> None:
    seen = observed(mounted_volume("/a", "/b"), mount_points={"/b"}, boot_id="boot-1").actual
    assert [m.presence for m in seen.mounts] == [Presence.UNCERTAIN, Presence.PRESENT]
    assert (seen.staged, seen.attached) == (Presence.UNCERTAIN, Presence.PRESENT)


def test_after_a_reboot_nothing_on_the_node_is_trusted() -> None:
    seen = observed(mounted_volume("/a"), mount_points={"/a"}, boot_id="boot-2").actual
    assert seen.mounts[0].presence is Presence.UNCERTAIN
    assert (seen.staged, seen.attached) == (Presence.UNCERTAIN, Presence.UNCERTAIN)
    assert seen.created is Presence.PRESENT


def test_a_volume_that_is_not_on_the_node_does_not_care_for_reboots() -> None:
    volume = a_volume(created=Presence.PRESENT)
    assert observed(volume, mount_points=set(), boot_id="boot-2") is volume
