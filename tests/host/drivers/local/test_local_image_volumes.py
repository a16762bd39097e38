"""The life of image volumes on pools that share blocks (xfs, btrfs) and one that does not (ext4)."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest
from msgspec import structs
from tests.host.drivers.local.pool_node import MIB, MOUNTED, RAW, MakeNode, Node, new_volume, on_every_pool, record_of

from moorage.framework.source import ImageFile, RootOwnership
from moorage.framework.values import CapacityQuery, NodeVolume
from moorage.host.copy import allocated_bytes
from moorage.host.loop import attach, list_loops, read_ahead_kib
from moorage.host.probe import probe
from moorage.host.signature import Known
from moorage.spec.compatibility import VolumeFacts, volume_conflict
from moorage.spec.errors import InvalidArgument, OutOfRange, ResourceExhausted, VolumeInUse, VolumeNotFound
from moorage.spec.messages import CreateVolumeRequest
from moorage.spec.types import Volume

pytestmark = pytest.mark.root


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fs_uuid(path: Path) -> str:
    content = probe(str(path))
    assert isinstance(content, Known)
    return content.uuid


@on_every_pool
def test_thin_volume_has_its_size_and_takes_no_space(node: Node) -> None:
    volume = node.create("v1", size_bytes=64 * MIB + 512)
    assert volume.capacity_bytes == 64 * MIB + 512
    assert node.image("v1").stat().st_size == 64 * MIB + 512
    assert allocated_bytes(str(node.image("v1"))) < MIB
    assert node.left() == ["volumes/v1"]


@on_every_pool
def test_create_twice_is_one_volume(node: Node) -> None:
    first = node.create("v1")
    (node.mount("v1") / "kept").write_text("kept")
    assert node.create("v1") == first
    assert (node.mounts / "v1" / "kept").read_text() == "kept"


@on_every_pool
def test_clone_of_a_mounted_volume_has_its_files_and_its_own_uuid(node: Node) -> None:
    source = node.create("v1", size_bytes=64 * MIB)
    live = node.mount("v1")
    (live / "file").write_bytes(os.urandom(3 * MIB))
    node.clone("v2", source, size_bytes=96 * MIB)
    copy = node.mount("v2")
    assert digest(copy / "file") == digest(live / "file")
    assert fs_uuid(node.image("v2")) != fs_uuid(node.image("v1"))
    assert node.image("v2").stat().st_size == 96 * MIB
    (live / "more").write_text("the source is writable again")


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
def test_source_and_clone_can_be_mounted_together(make_node: MakeNode, fs_type: str) -> None:
    node = make_node("xfs")
    source = node.create("v1", size_bytes=320 * MIB)
    live = node.mount("v1", fs_type)
    (live / "file").write_bytes(b"x" * 100_000)
    snapshot = node.snapshot("s1", source)
    (live / "file").write_bytes(b"y" * 100_000)
    node.restore("v2", snapshot, size_bytes=400 * MIB)
    restored = node.mount("v2", fs_type)
    assert (restored / "file").read_bytes() == b"x" * 100_000
    assert (live / "file").read_bytes() == b"y" * 100_000
    assert [loop for loop in list_loops() if loop.backing_path.startswith(f"{node.pool}/tmp/")] == []


@on_every_pool
def test_raw_block_clone_is_equal_to_the_last_byte(node: Node) -> None:
    source = node.create("v1", size_bytes=16 * MIB, capability=RAW)
    device = node.attach_raw("v1")
    with open(device, "r+b") as file:
        file.write(os.urandom(5 * MIB))
    node.detach("v1")
    node.clone("v2", source, size_bytes=20 * MIB, capability=RAW)
    assert node.image("v2").read_bytes()[: 16 * MIB] == node.image("v1").read_bytes()
    assert node.image("v2").stat().st_size == 20 * MIB


@on_every_pool
def test_restore_of_a_snapshot_into_a_smaller_volume_is_refused(node: Node) -> None:
    snapshot = node.snapshot("s1", node.create("v1", size_bytes=32 * MIB))
    with pytest.raises(OutOfRange, match="does not fit"):
        node.restore("v2", snapshot, size_bytes=16 * MIB)


@on_every_pool
def test_expand_grows_and_never_shrinks(node: Node) -> None:
    volume = node.create("v1", size_bytes=32 * MIB)
    assert node.driver.expand_volume(volume, 48 * MIB) == 48 * MIB
    assert node.driver.expand_volume(volume, 40 * MIB) == 48 * MIB
    assert node.image("v1").stat().st_size == 48 * MIB
    assert (found := node.driver.find_volume("v1")) is not None
    assert found.capacity_bytes == 48 * MIB


@on_every_pool
def test_reserved_volume_takes_its_space_and_gives_back_what_was_never_written(node: Node) -> None:
    volume = node.create("v1", size_bytes=64 * MIB, parameters={"allocation": "reserved"})
    image = str(node.image("v1"))
    assert allocated_bytes(image) >= 64 * MIB
    live = node.mount("v1")
    (live / "file").write_bytes(os.urandom(2 * MIB))
    before = digest(live / "file")
    node.driver.modify_volume(volume, {"allocation": "thin"})
    assert allocated_bytes(image) < 32 * MIB
    assert digest(live / "file") == before
    node.driver.modify_volume(volume, {"allocation": "reserved"})
    assert allocated_bytes(image) >= 64 * MIB
    node.driver.expand_volume(volume, 80 * MIB)
    assert allocated_bytes(image) >= 80 * MIB


def test_what_a_volume_was_made_with_stays_apart_from_what_was_modified(make_node: MakeNode) -> None:
    node = make_node("ext4")
    made_with = {"readAheadKiB": "128"}
    wish = structs.replace(new_volume("v1", 32 * MIB, MOUNTED, made_with), mutable_parameters=made_with)
    node.driver.create_volume(wish)
    for changes in ({"readAheadKiB": "256"}, {"allocation": "reserved"}, {"readAheadKiB": "512"}):
        node.driver.modify_volume(record_of(Volume("v1", 32 * MIB), MOUNTED), changes)
    found = node.again().find_volume("v1")
    assert found is not None
    assert found.mutable_parameters == made_with
    assert found.modified_parameters == {"readAheadKiB": "512", "allocation": "reserved"}
    repeated = CreateVolumeRequest(name=wish.name, volume_capabilities=(MOUNTED,), mutable_parameters=made_with)
    facts = VolumeFacts(volume_capabilities=(MOUNTED,), mutable_parameters=found.mutable_parameters)
    assert volume_conflict(facts, repeated) is None


@on_every_pool
def test_reserved_volume_that_is_not_attached_gives_back_what_was_never_written(node: Node) -> None:
    volume = node.create("v1", size_bytes=64 * MIB, parameters={"allocation": "reserved"})
    (node.mount("v1") / "file").write_bytes(os.urandom(2 * MIB))
    before = digest(node.mounts / "v1" / "file")
    node.unmount("v1")
    node.driver.modify_volume(volume, {"allocation": "thin"})
    assert allocated_bytes(str(node.image("v1"))) < 32 * MIB
    assert digest(node.mount("v1") / "file") == before


@on_every_pool
def test_space_is_given_back_under_a_writer_who_loses_nothing(node: Node) -> None:
    volume = node.create("v1", size_bytes=64 * MIB, parameters={"allocation": "reserved"})
    live = node.mount("v1")
    block = os.urandom(64 * 1024)
    stop = threading.Event()
    written: list[Path] = []

    def write() -> None:
        while not stop.is_set() and len(written) < 500:
            path = live / f"file{len(written)}"
            with path.open("wb") as file:
                file.write(block)
                file.flush()
                os.fsync(file.fileno())
            written.append(path)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for allocation in ("thin", "reserved") * 4:
            node.driver.modify_volume(volume, {"allocation": allocation})
    finally:
        stop.set()
        writer.join()
    assert written
    node.unmount("v1")
    node.mount("v1")
    assert [path.name for path in written if path.read_bytes() != block] == []


def test_space_of_a_raw_device_in_use_stays_with_it(make_node: MakeNode) -> None:
    node = make_node("xfs")
    volume = node.create("v1", size_bytes=16 * MIB, capability=RAW, parameters={"allocation": "reserved"})
    node.attach_raw("v1")
    node.driver.modify_volume(volume, {"allocation": "thin"})
    assert allocated_bytes(str(node.image("v1"))) >= 16 * MIB


@on_every_pool
def test_reserved_volume_that_does_not_fit_leaves_nothing(node: Node) -> None:
    with pytest.raises(ResourceExhausted, match="can reserve"):
        node.create("v1", size_bytes=4096 * MIB, parameters={"allocation": "reserved"})
    assert node.left() == []


def test_capacity_follows_reservation(make_node: MakeNode) -> None:
    node = make_node("xfs", reserve="reserved")
    query = CapacityQuery(parameters={})
    before = node.driver.capacity(query)
    node.create("v1", size_bytes=128 * MIB)
    after = node.driver.capacity(query)
    assert before.available_bytes - after.available_bytes >= 128 * MIB
    assert after.maximum_volume_bytes == after.available_bytes


def test_overcommit_limit_counts_every_promise(make_node: MakeNode) -> None:
    node = make_node("xfs", overcommit_percent=100)
    available = node.driver.capacity(CapacityQuery()).available_bytes
    node.create("v1", size_bytes=available - 64 * MIB)
    assert node.driver.capacity(CapacityQuery()).available_bytes == 64 * MIB
    with pytest.raises(ResourceExhausted, match="promise"):
        node.create("v2", size_bytes=65 * MIB)
    node.create("v2", size_bytes=64 * MIB)


def test_read_ahead_is_set_at_once_and_told_to_the_node(make_node: MakeNode) -> None:
    node = make_node("xfs")
    volume = node.create("v1", parameters={"readAheadKiB": "512"})
    source = node.driver.node_source(NodeVolume(volume_id="v1", volume_capability=MOUNTED))
    assert isinstance(source, ImageFile)
    assert source.read_ahead_kib == 512
    device = node.attach_raw("v1")
    node.driver.modify_volume(volume, {"readAheadKiB": "1024"})
    assert read_ahead_kib(device) == 1024
    again = node.again().node_source(NodeVolume(volume_id="v1", volume_capability=MOUNTED))
    assert isinstance(again, ImageFile)
    assert again.read_ahead_kib == 1024


def test_ownership_is_told_to_the_node(make_node: MakeNode) -> None:
    node = make_node("xfs")
    node.create("v1", parameters={"uid": "1000", "gid": "2000", "mode": "0750"})
    source = node.driver.node_source(NodeVolume(volume_id="v1", volume_capability=MOUNTED))
    assert isinstance(source, ImageFile)
    assert source.root == RootOwnership(1000, 2000, 0o750)


@on_every_pool
def test_delete_detaches_a_loop_device_that_a_crash_left(node: Node) -> None:
    volume = node.create("v1")
    attach(str(node.image("v1")), direct_io=False)
    node.driver.delete_volume(volume)
    node.driver.delete_volume(volume)
    assert node.left() == []
    assert [loop for loop in list_loops() if loop.backing_path.startswith(str(node.pool))] == []


def test_delete_of_a_mounted_volume_is_refused_and_changes_nothing(make_node: MakeNode) -> None:
    node = make_node("xfs")
    volume = node.create("v1")
    live = node.mount("v1")
    with pytest.raises(VolumeInUse, match="mounted at"):
        node.driver.delete_volume(volume)
    (live / "file").write_text("still writable")
    assert node.left() == ["volumes/v1"]


@pytest.mark.parametrize("volume_id", ["../v1", "v1/../v1", "/etc", "..", ".", "", "a\0b", "a\nb", "x" * 300])
def test_hostile_ids_are_no_volumes(make_node: MakeNode, volume_id: str) -> None:
    node = make_node("xfs")
    node.create("v1")
    assert node.driver.find_volume(volume_id) is None
    with pytest.raises(VolumeNotFound):
        node.driver.node_source(NodeVolume(volume_id=volume_id, volume_capability=MOUNTED))
    with pytest.raises(InvalidArgument, match="id"):
        node.create(volume_id)
    node.driver.delete_volume(node.create("v1").__class__(volume_id=volume_id, name="", capacity_bytes=0))
    assert node.left() == ["volumes/v1"]


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        pytest.param({"compression": "zstd"}, "subvolume", id="compression-of-an-image"),
        pytest.param({"backend": "subvolume"}, "not possible", id="subvolume-on-xfs"),
        pytest.param({"pool": "other"}, "does not exist", id="unknown-pool"),
    ],
)
def test_what_the_pool_cannot_do_is_refused_before_anything_is_made(
    make_node: MakeNode, parameters: dict[str, str], text: str
) -> None:
    node = make_node("xfs")
    with pytest.raises(InvalidArgument, match=text):
        node.create("v1", parameters=parameters)
    assert node.left() == []


def test_volume_too_large_for_the_pools_files_is_out_of_range(make_node: MakeNode) -> None:
    node = make_node("ext4")
    with pytest.raises(OutOfRange, match="ext4"):
        node.create("v1", size_bytes=17 << 40)
