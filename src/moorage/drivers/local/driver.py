"""The driver `local.csi.moorage.dev`: what it offers, and which part of it does the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moorage.drivers.local import changed_blocks as blocks
from moorage.drivers.local import health
from moorage.drivers.local.config import LocalConfig
from moorage.drivers.local.facts import is_privileged
from moorage.drivers.local.parameters import parse, parse_mutable
from moorage.drivers.local.pool import Pool
from moorage.drivers.local.pools import Pools
from moorage.drivers.local.snapshots import Snapshots
from moorage.drivers.local.volumes import Volumes
from moorage.framework.driver import Driver
from moorage.framework.needs import DeploymentNeeds, HostMount
from moorage.framework.source import Source
from moorage.framework.values import (
    Attachment,
    Capacity,
    CapacityQuery,
    ChangedBlocks,
    NewGroupSnapshot,
    NewSnapshot,
    NewVolume,
    NodeInfo,
    NodeVolume,
    SnapshotRecord,
    VolumeRecord,
)
from moorage.spec.errors import NodeNotFound
from moorage.spec.types import (
    AccessMode,
    HealthEntry,
    Snapshot,
    StorageBackendHealth,
    Topology,
    Volume,
    VolumeCapability,
    VolumeUsage,
)

NAME: Final = "local.csi.moorage.dev"
TOPOLOGY_KEY: Final = f"topology.{NAME}/node"

_ATTACHING: Final = frozenset({"controller_publish", "controller_unpublish", "attach_limit"})
_OWNER: Final = f"moorage serve {NAME}"
_IMAGES_ONLY: Final = frozenset({"create_group_snapshot", "allocated_blocks", "changed_blocks"})


class LocalDriver(Driver):
    """Volumes on the disks of this machine: image files, btrfs subvolumes or plain directories in pools."""

    name = NAME
    Config = LocalConfig
    access_modes = frozenset(AccessMode) - {AccessMode.UNKNOWN}
    topology_aware = True
    ephemeral = True
    config: LocalConfig

    def __init__(self, config: LocalConfig) -> None:
        super().__init__(config)
        self._privileged = is_privileged()
        self._topology = Topology({TOPOLOGY_KEY: config.node_id})
        self._pools = Pools(
            [
                Pool(pool, overcommit_percent=config.overcommit_percent, privileged=self._privileged)
                for pool in config.pools
            ]
        )
        self._volumes = Volumes(config, self._pools, self._topology)
        self._snapshots = Snapshots(self._pools, self._topology if config.snapshot_topology else None)
        self.snapshot_topology = config.snapshot_topology
        self.block = self._privileged
        self.maximum_size_bytes = config.max_volume_size or None

    # --- life of the plugin ---

    @classmethod
    def deployment_needs(cls, config: LocalConfig) -> DeploymentNeeds:
        """The pools and /dev of every node, with controller and node in one pod."""
        pools = tuple(HostMount(str(pool.directory), propagation="Bidirectional") for pool in config.pools)
        return DeploymentNeeds(
            node_mounts=(*pools, HostMount("/dev")),
            controller_on_node=True,
            controller_privileged=True,
            packages=("btrfs-progs", "e2fsprogs", "util-linux", "xfsprogs"),
        )

    def disabled_methods(self) -> frozenset[str]:
        """Attaching only where it was asked for; nothing that needs images without root."""
        attaching = frozenset() if self.config.attach else _ATTACHING
        return attaching | (frozenset() if self._privileged else _IMAGES_ONLY)

    def start(self) -> None:
        """Open the pools and clear away what killed processes left. Raises PoolInUse."""
        self._pools.open(owner=_OWNER)

    def stop(self) -> None:
        """Let other processes have the pools."""
        self._pools.close()

    def probe(self) -> bool:
        """Ready when the default pool can be used; one that came late is opened."""
        self._pools.open_late(owner=_OWNER)
        return self._pools.default.trouble() is None

    # --- volumes ---

    async def places(self) -> tuple[Topology, ...]:
        """This node; nothing blocks here, so no thread is asked."""
        return (self._topology,)

    def check_parameters(self, parameters: Mapping[str, str], mutable: Mapping[str, str]) -> None:
        """Raise InvalidArgument for unknown parameters, values and pools."""
        wanted = parse(parameters)
        parse_mutable(mutable)
        if wanted.pool is not None:
            self._pools.named(wanted.pool)

    def create_volume(self, volume: NewVolume) -> Volume:
        """An empty image, subvolume or directory."""
        return self._volumes.create(volume)

    def restore_snapshot(self, volume: NewVolume, snapshot: SnapshotRecord) -> Volume:
        """A volume with a snapshot's content; kept as the snapshot is."""
        return self._volumes.restore(volume, snapshot)

    def clone_volume(self, volume: NewVolume, source: VolumeRecord) -> Volume:
        """A volume with another's content of one instant; kept as the source is."""
        return self._volumes.clone(volume, source)

    def delete_volume(self, volume: VolumeRecord) -> None:
        """Everything of the volume goes, loop devices that a crash left included."""
        self._volumes.delete(volume.volume_id)

    def expand_volume(self, volume: VolumeRecord, size_bytes: int) -> int:
        """A longer image or a higher limit; the node does the rest."""
        return self._volumes.expand(volume.volume_id, size_bytes)

    def modify_volume(self, volume: VolumeRecord, parameters: Mapping[str, str]) -> None:
        """`readAheadKiB` and `allocation` of images, `compression` of subvolumes."""
        self._volumes.modify(volume.volume_id, parameters)

    def find_volume(self, volume_id: str) -> VolumeRecord | None:
        """A volume that is in a pool, whoever put it there."""
        return self._volumes.find(volume_id)

    def capacity(self, query: CapacityQuery) -> Capacity:
        """What the pool that the parameters name can give; nothing for other nodes."""
        here = self.config.node_id
        if query.topology is not None and query.topology.segments.get(TOPOLOGY_KEY, here) != here:
            return Capacity(available_bytes=0)
        return self._volumes.capacity(query, minimum_bytes=self.minimum_size_bytes)

    def volume_health(self, volume: VolumeRecord) -> tuple[HealthEntry, ...]:
        """Whether the content is there, whole and writable, and how its pool is."""
        return health.volume_health(self._pools, volume.volume_id, recorded=True)

    # --- snapshots ---

    def create_snapshot(self, snapshot: NewSnapshot, source: VolumeRecord) -> Snapshot:
        """A snapshot of one instant (directories: a copy)."""
        return self._snapshots.create(snapshot, source)

    def delete_snapshot(self, snapshot: SnapshotRecord) -> None:
        """Everything of the snapshot goes."""
        self._snapshots.delete(snapshot.snapshot_id)

    def create_group_snapshot(self, group: NewGroupSnapshot, sources: tuple[VolumeRecord, ...]) -> tuple[Snapshot, ...]:
        """Snapshots of several image volumes, cut while all of them are held."""
        return self._snapshots.create_group(group, sources)

    def allocated_blocks(self, snapshot: SnapshotRecord, starting_offset: int) -> ChangedBlocks:
        """The ranges of an image snapshot that hold data."""
        return blocks.allocated_blocks(self._snapshots, snapshot, starting_offset)

    def changed_blocks(self, base: SnapshotRecord, target: SnapshotRecord, starting_offset: int) -> ChangedBlocks:
        """The ranges of an image snapshot that may differ from an earlier one."""
        return blocks.changed_blocks(self._snapshots, base, target, starting_offset)

    # --- attaching: book-keeping, which the framework does ---

    def controller_publish(self, volume: VolumeRecord, attachment: Attachment) -> Mapping[str, str]:
        """Nothing has to be done; raises NodeNotFound for a node that is not known."""
        del volume
        self._known_node(attachment.node_id)
        return {}

    def controller_unpublish(self, attachment: Attachment) -> None:
        """Nothing has to be undone."""

    def attach_limit(self, node_id: str) -> int | None:
        """The configured limit. Raises NodeNotFound."""
        self._known_node(node_id)
        return self.config.attach_limit or None

    def _known_node(self, node_id: str) -> None:
        if node_id not in self.config.node_ids:
            raise NodeNotFound(node_id)

    # --- node ---

    def node_info(self) -> NodeInfo:
        """This node, its limit, and the topology of its volumes."""
        limits = [limit for limit in (self.config.attach_limit, self.config.volume_limit) if limit]
        return NodeInfo(
            node_id=self.config.node_id,
            max_volumes_per_node=min(limits, default=0),
            topology=self._topology,
        )

    def node_source(self, volume: NodeVolume) -> Source:
        """The image file or the directory of a volume."""
        pool, found, place = self._volumes.locate(volume.volume_id)
        return pool.backend(found.backend).source(place, found)

    def node_usage(self, volume_id: str, path: str) -> tuple[VolumeUsage, ...]:
        """Figures of a subvolume or directory; none for images, whose file systems tell theirs."""
        del path
        pool, found, place = self._volumes.locate(volume_id)
        with pool.errors(f"usage of volume {volume_id!r} cannot be told"):
            return pool.backend(found.backend).usage(place, found)

    def node_volume_health(self, volume_id: str) -> tuple[HealthEntry, ...]:
        """As the controller sees it: both look at the same pool."""
        return health.volume_health(self._pools, volume_id, recorded=False)

    def node_storage_health(self) -> tuple[StorageBackendHealth, ...]:
        """How the pools are."""
        return health.storage_health(self._pools)

    def supports(self, capability: VolumeCapability) -> str | None:
        """As every driver; raw block volumes need root and loop devices."""
        if capability.is_block and not self._privileged:
            return "raw block volumes need root and loop devices"
        return super().supports(capability)
