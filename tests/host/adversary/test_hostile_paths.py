"""Paths, flags and groups that are wrong one way or another, given for a real volume, and what is there afterwards.

A refusal is final: it leaves no mount, no loop device and no row that would have to be unstaged, so the volume can be
deleted at once. What was in the way, or mounted there before, is untouched.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.adversary import loops_below
from tests.support.playground import BLOCK, MOUNT, Place, create, state_of

from moorage.host.mount import ensure_bind_mounted, ensure_unmounted
from moorage.host.mountinfo import find_mount, mounts_below
from moorage.spec import messages as m
from moorage.spec.errors import Code, CsiError
from moorage.spec.types import AccessMode, MountAccess, VolumeCapability

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(120)]

REFUSED = frozenset({Code.FAILED_PRECONDITION, Code.INVALID_ARGUMENT, Code.ALREADY_EXISTS})
WRONG_NAMES = [
    *("file", "file/below", "link", "filelink", "dangling", "loop", "loop/x", "fifo"),
    *("x" * 256, "x/" * 2500, "nul\0byte", "empty/../empty"),
]


def with_flags(*flags: str, group: str = "", fs_type: str = "") -> VolumeCapability:
    return VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess(fs_type, flags, group))


async def refused(place: Place, rpc: str, request: Any) -> CsiError:
    with pytest.raises(CsiError) as refusal:
        await place.driver.client.call(rpc, request)
    assert refusal.value.code in REFUSED, refusal.value.message
    return refusal.value


async def deletable(place: Place, volume_id: str) -> None:
    """Nothing of a refused call is left."""
    rows = place.driver.rows()
    held = [row for kind in ("staged", "published") for row in rows.get(kind, ()) if row["volume_id"] == volume_id]
    assert held == []
    assert not any(volume_id in device.backing_path for device in loops_below(place.driver.pool))
    await place.driver.client.delete_volume(m.DeleteVolumeRequest(volume_id))


async def test_staging_at_a_wrong_path(place: Place) -> None:
    """A file, a symlink, a loop, a path too long: refused, and the volume can be deleted at once."""
    play, outside = state_of(place.play), state_of(place.outside)
    volume_id = place.volume_ids[2]
    for name in WRONG_NAMES:
        await refused(place, "NodeStageVolume", m.NodeStageVolumeRequest(volume_id, f"{place.play}/{name}", MOUNT))
    assert (state_of(place.play), state_of(place.outside)) == (play, outside)
    await deletable(place, volume_id)


@pytest.mark.parametrize("number", [pytest.param(0, id="mount"), pytest.param(1, id="block")])
async def test_publishing_at_a_wrong_path(place: Place, number: int) -> None:
    """As above; a file with data in it is no place for a block device either."""
    play, outside = state_of(place.play), state_of(place.outside)
    volume_id, capability = place.volume_ids[number], (MOUNT, BLOCK)[number]
    for name in [*WRONG_NAMES, "full/file"]:
        target, staging = f"{place.play}/{name}", f"{place.play}/staging-{number}"
        await refused(place, "NodePublishVolume", m.NodePublishVolumeRequest(volume_id, target, capability, staging))
        assert (state_of(place.play), state_of(place.outside)) == (play, outside), name[:80]
    targets = [row["target_path"] for row in place.driver.rows()["published"] if row["volume_id"] == volume_id]
    assert targets == [f"{place.play}/target-{number}"]


async def test_unpublishing_from_a_wrong_path(place: Place) -> None:
    """What is not published there is fine, or refused, and stays."""
    play, outside = state_of(place.play), state_of(place.outside)
    for name in [*WRONG_NAMES, "full", "full/file"]:
        for volume_id in (place.volume_ids[2], "unknown"):
            try:
                request = m.NodeUnpublishVolumeRequest(volume_id, f"{place.play}/{name}")
                await place.driver.client.node_unpublish_volume(request)
            except CsiError as error:
                assert error.code in REFUSED, error.message  # noqa: PT017 - OK is as good
    assert (state_of(place.play), state_of(place.outside)) == (play, outside)


@pytest.mark.parametrize(
    "capability",
    [
        pytest.param(with_flags("bind"), id="bind"),
        pytest.param(with_flags("remount"), id="remount"),
        pytest.param(with_flags("ro,move"), id="move-behind-a-comma"),
        pytest.param(with_flags("no-such-option"), id="unknown-option"),
        pytest.param(with_flags("errors=what"), id="bad-value"),
        pytest.param(with_flags("x" * 5000), id="longer-than-a-page"),
        pytest.param(with_flags("a\0b"), id="nul"),
        pytest.param(with_flags(group="root"), id="group-by-name"),
        pytest.param(with_flags(group="99999999999"), id="group-too-large"),
        pytest.param(with_flags(group="4294967295"), id="group-minus-one"),
        pytest.param(with_flags(group="\u0663"), id="group-in-arabic"),
        pytest.param(with_flags(fs_type="ntfs"), id="unknown-file-system"),
        pytest.param(with_flags(fs_type="-h"), id="file-system-like-an-option"),
        pytest.param(with_flags(fs_type="../../bin/sh"), id="file-system-like-a-path"),
        pytest.param(with_flags(fs_type="xfs"), id="too-small-for-xfs"),
    ],
)
async def test_staging_in_a_wrong_way(place: Place, capability: VolumeCapability) -> None:
    volume_id, path = place.volume_ids[2], str(place.play / "empty")
    await refused(place, "NodeStageVolume", m.NodeStageVolumeRequest(volume_id, path, capability))
    assert mounts_below(path) == []
    rows = [row for row in place.driver.rows()["staged"] if row["volume_id"] == volume_id]
    if any(row.get("formatting") for row in rows):  # mkfs may have begun: kept until it is known to be whole
        await place.driver.client.node_unstage_volume(m.NodeUnstageVolumeRequest(volume_id, path))
    await deletable(place, volume_id)


async def test_the_same_path_spelled_in_another_way(place: Place) -> None:
    """Publish and unpublish need not agree on slashes and dots."""
    client, (one, _, two, _) = place.driver.client, place.volume_ids
    staging, target = f"{place.play}/staging-0", f"{place.play}/target-0"
    for spelling in (f"{target}/", f"{target}/.", target.replace("/target", "//target"), f"/{target}"):
        again = m.NodePublishVolumeRequest(one, spelling, MOUNT, f"{staging}/")
        await client.node_publish_volume(again)
        assert len([each for each in mounts_below(str(place.play)) if each.mount_point == target]) == 1
    other = f"{place.play}/other"
    os.mkdir(other)
    await client.node_stage_volume(m.NodeStageVolumeRequest(two, f"{other}/", MOUNT))
    request = m.NodePublishVolumeRequest(two, f"{target}/", MOUNT, other)
    assert (await refused(place, "NodePublishVolume", request)).code is Code.ALREADY_EXISTS
    await client.node_unpublish_volume(m.NodeUnpublishVolumeRequest(one, f"{target}//"))
    assert not os.path.lexists(target)
    await client.node_unstage_volume(m.NodeUnstageVolumeRequest(one, f"{staging}/./"))
    await client.node_unstage_volume(m.NodeUnstageVolumeRequest(two, other))
    await client.controller_unpublish_volume(m.ControllerUnpublishVolumeRequest(one))
    await client.delete_volume(m.DeleteVolumeRequest(one))


async def test_a_foreign_mount_stays(place: Place) -> None:
    """Refused at stage and publish, and not unmounted by the unstage and unpublish that follow."""
    volume_id = place.volume_ids[2]
    foreign = str(place.play / "empty")
    ensure_bind_mounted(str(place.outside / "directory"), foreign)
    try:
        for capability in (MOUNT, BLOCK):
            await refused(place, "NodeStageVolume", m.NodeStageVolumeRequest(volume_id, foreign, capability))
        for number, capability in enumerate((MOUNT, BLOCK)):
            staging, in_use = f"{place.play}/staging-{number}", place.volume_ids[number]
            await refused(place, "NodePublishVolume", m.NodePublishVolumeRequest(in_use, foreign, capability, staging))
            for each in (in_use, volume_id, "unknown"):
                await refused(place, "NodeUnpublishVolume", m.NodeUnpublishVolumeRequest(each, foreign))
                await refused(place, "NodeUnstageVolume", m.NodeUnstageVolumeRequest(each, foreign))
        assert find_mount(foreign) is not None
        assert Path(foreign, "file").read_text() == "keep"
    finally:
        ensure_unmounted(foreign)
    await deletable(place, volume_id)


async def test_staged_at_two_paths(place: Place) -> None:
    """As a kubelet does across an upgrade that moved its staging directory."""
    client, one = place.driver.client, place.volume_ids[0]
    second = str(place.play / "empty")
    await client.node_stage_volume(m.NodeStageVolumeRequest(one, second, MOUNT))
    (place.play / "target-0" / "file").write_text("seen through both")
    assert Path(second, "file").read_text() == "seen through both"
    await client.node_unstage_volume(m.NodeUnstageVolumeRequest(one, second))
    assert (place.play / "target-0" / "file").read_text() == "seen through both"


@pytest.mark.parametrize(
    ("context", "name"),
    [
        pytest.param({"size": "x"}, "inline", id="size"),
        pytest.param({"size": "64Mi", "nonsense": "1"}, "inline", id="parameter"),
        pytest.param({"size": "9223372036854775807"}, "inline", id="huge"),
        pytest.param({"size": "64Mi"}, "file/below", id="path"),
        pytest.param({"size": "64Mi"}, "file", id="file"),
    ],
)
async def test_inline_volumes_that_are_refused_leave_nothing(place: Place, context: dict[str, str], name: str) -> None:
    before = sorted(os.listdir(place.driver.pool / "volumes"))
    context = {"csi.storage.k8s.io/ephemeral": "true", **context}
    for volume_id in ("csi-inline", "../../inline", "in/line", "x" * 300):
        request = m.NodePublishVolumeRequest(volume_id, f"{place.play}/{name}", MOUNT, volume_context=context)
        with pytest.raises(CsiError) as refusal:
            await place.driver.client.node_publish_volume(request)
        assert refusal.value.code in {*REFUSED, Code.OUT_OF_RANGE}, refusal.value.message
    assert sorted(os.listdir(place.driver.pool / "volumes")) == before
    assert [row["volume_id"] for row in place.driver.rows()["volume"] if row.get("ephemeral")] == []
    assert loops_below(place.driver.pool / "volumes" / "csi-inline") == []


async def test_a_volume_made_with_odd_names_is_in_the_pool_only(place: Place) -> None:
    before = state_of(place.outside)
    for name in ("../../../outside/x", "/etc/x", "-rf", "a\nb", " ", ".", "..", "\u00e9" * 64, "$(touch x)", "\u202ex"):
        volume_id = await create(place.driver.client, name, MOUNT)
        assert os.path.isdir(place.driver.pool / "volumes" / volume_id)
        snapshot = await place.driver.client.create_snapshot(m.CreateSnapshotRequest(volume_id, name))
        assert os.path.isdir(place.driver.pool / "snapshots" / snapshot.snapshot.snapshot_id)
    assert state_of(place.outside) == before
