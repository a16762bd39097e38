"""The driver as anybody can run it: plain directories, no loop devices, no sizes enforced."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from moorage.drivers.local import LocalConfig, LocalDriver
from moorage.drivers.local.filedata import copy_data
from moorage.drivers.local.tree import copy_tree
from moorage.drivers.local.use import Glance, Sight
from moorage.framework.source import Directory
from moorage.framework.values import (
    Attachment,
    CapacityQuery,
    NewSnapshot,
    NewVolume,
    NodeVolume,
    SnapshotRecord,
    VolumeRecord,
)
from moorage.spec.errors import (
    DataLoss,
    InvalidArgument,
    NodeNotFound,
    ResourceExhausted,
    Unavailable,
    VolumeNotFound,
)
from moorage.spec.messages import NodeGetStorageHealthResponse
from moorage.spec.responses import response_problems
from moorage.spec.rules import RPCS
from moorage.spec.shorten import with_short_messages
from moorage.spec.types import (
    AccessMode,
    BlockAccess,
    MountAccess,
    SnapshotSource,
    StorageHealthStatus,
    Topology,
    TopologyRequirement,
    VolumeCapability,
    VolumeHealthStatus,
)

MOUNTED = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess())
RAW = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, BlockAccess())
KEY = "topology.local.csi.moorage.dev/node"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return tmp_path / "pool"


@pytest.fixture
def driver(pool: Path, monkeypatch: pytest.MonkeyPatch) -> LocalDriver:
    return started(pool, monkeypatch)


def started(pool: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> LocalDriver:
    monkeypatch.setattr("moorage.drivers.local.driver.is_privileged", lambda: False)
    made = LocalDriver(LocalConfig(pool=(str(pool),), node_id="node-a", **settings))  # type: ignore[arg-type]  # settings of a test
    made.start()
    return made


def create(driver: LocalDriver, volume_id: str, **parameters: str) -> VolumeRecord:
    wish = NewVolume(
        volume_id=volume_id,
        name=volume_id,
        size_bytes=1 << 20,
        volume_capabilities=(MOUNTED,),
        parameters=parameters,
    )
    made = driver.create_volume(wish)
    return VolumeRecord(volume_id=made.volume_id, name=volume_id, capacity_bytes=made.capacity_bytes)


def directory(driver: LocalDriver, volume_id: str) -> Path:
    source = driver.node_source(NodeVolume(volume_id=volume_id, volume_capability=MOUNTED))
    assert isinstance(source, Directory)
    return source.path


def snapshot(driver: LocalDriver, snapshot_id: str, volume: VolumeRecord) -> SnapshotRecord:
    made = driver.create_snapshot(
        NewSnapshot(snapshot_id=snapshot_id, name=snapshot_id, source_volume_id=volume.volume_id), volume
    )
    return SnapshotRecord(
        snapshot_id=made.snapshot_id,
        name=snapshot_id,
        source_volume_id=made.source_volume_id,
        creation_time=made.creation_time,
        size_bytes=made.size_bytes,
        accessible_topology=made.accessible_topology,
    )


def test_whole_life_of_a_directory(driver: LocalDriver, pool: Path) -> None:
    volume = create(driver, "v1", mode="0700")
    (directory(driver, "v1") / "file").write_text("one")
    cut = snapshot(driver, "s1", volume)
    (directory(driver, "v1") / "file").write_text("two")
    wish = NewVolume(
        volume_id="v2",
        name="v2",
        size_bytes=2 << 20,
        volume_capabilities=(MOUNTED,),
        content_source=SnapshotSource("s1"),
    )
    restored = driver.restore_snapshot(wish, cut)
    assert restored.content_source == SnapshotSource("s1")
    assert restored.accessible_topology == (Topology({KEY: "node-a"}),)
    assert (directory(driver, "v2") / "file").read_text() == "one"
    assert driver.expand_volume(volume, 8 << 20) == 8 << 20
    driver.delete_volume(volume)
    driver.delete_volume(VolumeRecord(volume_id="v2", name="v2", capacity_bytes=1))
    driver.delete_snapshot(cut)
    assert [path for home in ("volumes", "snapshots", "tmp") for path in (pool / home).iterdir()] == []


def test_raw_block_is_refused_in_a_sentence(driver: LocalDriver) -> None:
    assert "root" in (driver.supports(RAW) or "")
    assert driver.supports(MOUNTED) is None
    wish = NewVolume(volume_id="v1", name="v1", size_bytes=1 << 20, volume_capabilities=(RAW,))
    with pytest.raises(InvalidArgument, match="root"):
        driver.create_volume(wish)


def test_only_what_works_is_offered(driver: LocalDriver, pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images_only = {"create_group_snapshot", "allocated_blocks", "changed_blocks"}
    attaching = {"controller_publish", "controller_unpublish", "attach_limit"}
    assert driver.disabled_methods() == images_only | attaching
    driver.stop()
    assert started(pool, monkeypatch, attach=True).disabled_methods() == images_only


def test_snapshot_topology_is_told_when_asked_for(
    driver: LocalDriver, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = create(driver, "v1")
    assert not driver.snapshot_topology
    assert snapshot(driver, "s1", volume).accessible_topology == ()
    driver.stop()
    telling = started(pool, monkeypatch, snapshot_topology=True)
    assert telling.snapshot_topology
    assert snapshot(telling, "s2", volume).accessible_topology == (Topology({KEY: "node-a"}),)


@pytest.mark.parametrize(("places", "is_made"), [(("node-a", "node-b"), True), (("node-b",), False)], ids=str)
def test_snapshot_is_cut_only_where_it_may_be(
    pool: Path, monkeypatch: pytest.MonkeyPatch, places: tuple[str, ...], is_made: bool
) -> None:
    driver = started(pool, monkeypatch, snapshot_topology=True)
    volume = create(driver, "v1")
    wish = NewSnapshot(
        snapshot_id="s1",
        name="s1",
        source_volume_id="v1",
        requirement=TopologyRequirement(requisite=tuple(Topology({KEY: place}) for place in places)),
    )
    with nullcontext() if is_made else pytest.raises(ResourceExhausted, match="node-a"):
        driver.create_snapshot(wish, volume)
    assert [path.name for path in (pool / "snapshots").iterdir()] == (["s1"] if is_made else [])


def test_attaching_knows_its_nodes(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = started(pool, monkeypatch, attach=True, attach_node=("node-b",), attach_limit=8, volume_limit=3)
    volume = create(driver, "v1")
    for node_id in ("node-a", "node-b"):
        attachment = Attachment(volume_id="v1", node_id=node_id, volume_capability=MOUNTED)
        assert driver.controller_publish(volume, attachment) == {}
        assert driver.attach_limit(node_id) == 8
    with pytest.raises(NodeNotFound):
        driver.attach_limit("node-c")
    assert driver.node_info().max_volumes_per_node == 3
    assert driver.node_info().topology == Topology({KEY: "node-a"})


def test_capacity_is_of_this_node_only(driver: LocalDriver) -> None:
    assert driver.capacity(CapacityQuery()).available_bytes > 0
    assert driver.capacity(CapacityQuery(topology=Topology({KEY: "node-a"}))).available_bytes > 0
    assert driver.capacity(CapacityQuery(topology=Topology({KEY: "node-b"}))).available_bytes == 0


def test_volumes_are_found_without_a_journal(driver: LocalDriver, pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(driver, "v1", uid=str(os.getuid()))
    driver.stop()
    found = started(pool, monkeypatch).find_volume("v1")
    assert found is not None
    assert (found.name, found.capacity_bytes, found.parameters) == ("v1", 1 << 20, {"uid": str(os.getuid())})
    assert driver.find_volume("nobody") is None
    assert driver.find_volume("../volumes/v1") is None


def test_start_removes_what_killed_processes_left(
    driver: LocalDriver, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(driver, "v1")
    for name in ("build-volume-half", "build-snapshot-half", "trash-volume-old"):
        (pool / "tmp" / name / "data" / "deep").mkdir(parents=True)
    driver.stop()
    started(pool, monkeypatch)
    assert list((pool / "tmp").iterdir()) == []
    assert [path.name for path in (pool / "volumes").iterdir()] == ["v1"]


def test_creation_goes_on_after_a_half_made_volume(driver: LocalDriver, pool: Path) -> None:
    half = pool / "tmp" / "build-volume-v1"
    (half / "data").mkdir(parents=True)
    (half / "data" / "rubbish").write_text("left")
    create(driver, "v1")
    assert list(directory(driver, "v1").iterdir()) == []


@pytest.mark.parametrize("damage", ["gone", "garbled"])
def test_volume_without_description_is_data_loss_and_can_be_deleted(
    driver: LocalDriver, pool: Path, damage: str
) -> None:
    volume = create(driver, "v1")
    described = pool / "volumes/v1/volume.json"
    described.unlink() if damage == "gone" else described.write_text("{")
    with pytest.raises(DataLoss, match="moorage local check"):
        directory(driver, "v1")
    assert driver.volume_health(volume)[0].status is VolumeHealthStatus.DATA_LOSS
    driver.delete_volume(volume)
    assert not (pool / "volumes/v1").exists()


def test_health_of_a_volume(driver: LocalDriver, pool: Path) -> None:
    volume = create(driver, "v1")
    assert driver.volume_health(volume) == ()
    assert driver.node_volume_health("v1") == ()
    with pytest.raises(VolumeNotFound):
        driver.node_volume_health("nobody")
    (pool / "volumes/v1/data").rmdir()
    assert [entry.status for entry in driver.volume_health(volume)] == [VolumeHealthStatus.INACCESSIBLE]
    lost = VolumeRecord(volume_id="lost", name="lost", capacity_bytes=1)
    assert [entry.reason for entry in driver.volume_health(lost)] == ["VolumeMissing"]


def test_two_pools_with_one_trouble_are_told_of_in_one_entry(tmp_path: Path) -> None:
    """The specification allows one entry for each status and reason."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    driver = LocalDriver(LocalConfig(pool=(f"a={tmp_path}/a", f"b={tmp_path}/b"), backend=("directory",)))
    driver.start()
    for name in ("a", "b"):
        (tmp_path / name).rename(tmp_path / f"gone-{name}")
    response = with_short_messages(NodeGetStorageHealthResponse(driver.node_storage_health()))
    assert response_problems(RPCS["NodeGetStorageHealth"], response) == []
    (entry,) = response.backend_health
    assert "'a'" in entry.message
    assert "'b'" in entry.message


def test_pool_that_went_away_is_told_and_nothing_is_decided(driver: LocalDriver, pool: Path) -> None:
    volume = create(driver, "v1")
    assert driver.probe()
    assert driver.node_storage_health() == ()
    pool.rename(pool.with_name("elsewhere"))
    assert not driver.probe()
    assert [entry.status for entry in driver.node_storage_health()] == [StorageHealthStatus.STORAGE_UNREACHABLE]
    assert [entry.status for entry in driver.volume_health(volume)] == [VolumeHealthStatus.INACCESSIBLE]
    for call in (lambda: driver.delete_volume(volume), lambda: create(driver, "v2"), lambda: directory(driver, "v1")):
        with pytest.raises(Unavailable, match="pool"):
            call()
    pool.with_name("elsewhere").rename(pool)
    assert directory(driver, "v1").is_dir()


def test_pool_that_went_away_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.drivers.local.driver.is_privileged", lambda: False)
    first, second = tmp_path / "first", tmp_path / "second"
    driver = LocalDriver(LocalConfig(pool=(str(first), f"b={second}"), node_id="node-a"))
    driver.start()
    lost, kept = create(driver, "lost"), create(driver, "kept", pool="b")
    first.rename(tmp_path / "elsewhere")
    assert directory(driver, "kept") == second / "volumes/kept/data"
    cut = snapshot(driver, "s1", kept)
    driver.delete_snapshot(cut)
    driver.delete_volume(kept)
    assert list((second / "volumes").iterdir()) == []
    create(driver, "new", pool="b")
    with pytest.raises(Unavailable, match="'default'"):
        driver.delete_volume(lost)
    with pytest.raises(Unavailable, match="'default'"):
        driver.find_volume("nobody")


def test_copy_is_not_led_out_of_the_tree_by_links_that_come_and_go(tmp_path: Path) -> None:
    """A pod swaps a directory for a link to the host's secrets while its volume is copied."""
    secret, tree = tmp_path / "host", tmp_path / "tree"
    secret.mkdir()
    (secret / "shadow").write_text("secret")
    tree.mkdir()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (tree / "a").mkdir()
            (tree / "a" / "file").write_text("mine")
            (tree / "a" / "file").unlink()
            (tree / "a").rmdir()
            (tree / "a").symlink_to(secret)
            (tree / "a").unlink()

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for number in range(200):
            copy = tmp_path / f"copy{number}"
            copy.mkdir()
            copy_tree(tree, copy, copy_data)
            found = copy / "a"
            assert found.is_symlink() or not (found / "shadow").exists()
    finally:
        stop.set()
        swapper.join()


def test_moment_of_a_snapshot_is_kept(driver: LocalDriver, pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = create(driver, "v1")
    first = snapshot(driver, "s1", volume)
    assert first.creation_time <= datetime.now(UTC)
    driver.stop()
    assert snapshot(started(pool, monkeypatch), "s1", volume).creation_time == first.creation_time


def test_look_is_shared_by_those_who_asked_before_it_and_by_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("moorage.drivers.local.use.time", SimpleNamespace(monotonic=lambda: now_s[0]))
    monkeypatch.setattr("moorage.drivers.local.use.look", lambda: Sight({}, []))
    glance = Glance()
    first = glance.take()
    assert glance.take() is first
    now_s[0] = 0.001
    assert glance.take() is not first
