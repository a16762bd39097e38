"""What the suite has made and not yet taken back, learnt from its own calls, so that no rule can forget it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from msgspec import Struct

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.rules import BY_REQUEST
from moorage.verify.exchange import Exchange

__all__ = ["Ledger"]

Settle = Callable[[Struct], Awaitable[Exchange]]
"""Makes a call, and again until its outcome is final or patience ends."""


@dataclass(slots=True)
class Ledger:
    """Published targets, staging paths, attachments, groups, snapshots and volumes that exist or may exist."""

    targets: dict[tuple[str, str], None] = field(default_factory=dict)
    stages: dict[tuple[str, str], None] = field(default_factory=dict)
    attachments: dict[tuple[str, str], None] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    snapshots: dict[str, None] = field(default_factory=dict)
    volumes: dict[str, None] = field(default_factory=dict)
    unsettled: dict[tuple[str, str], Struct] = field(default_factory=dict)
    running: list[Struct] = field(default_factory=list)

    def begin(self, request: Struct) -> None:
        """A call starts; should its end never be recorded, it may have made what it asked for."""
        self.running.append(request)

    def record(self, exchange: Exchange) -> None:
        """Take note of what a call made, may have made, or took away."""
        request = exchange.request
        self.running = [other for other in self.running if other is not request]
        may_exist = exchange.ok or not exchange.final
        match request:
            case m.CreateVolumeRequest() | m.CreateSnapshotRequest() | m.CreateVolumeGroupSnapshotRequest():
                self._record_create(exchange, request)
            case m.ControllerPublishVolumeRequest() if may_exist:
                self.attachments[request.volume_id, request.node_id] = None
            case m.NodeStageVolumeRequest() if may_exist:
                self.stages[request.volume_id, request.staging_target_path] = None
            case m.NodePublishVolumeRequest() if may_exist:
                self.targets[request.volume_id, request.target_path] = None
            case _ if exchange.ok:
                self._record_end(request)

    def _record_create(
        self,
        exchange: Exchange,
        request: m.CreateVolumeRequest | m.CreateSnapshotRequest | m.CreateVolumeGroupSnapshotRequest,
    ) -> None:
        key = (exchange.rpc.name, request.name)
        if not exchange.final:
            self.unsettled[key] = request
            return
        if not exchange.ok:
            if exchange.code is not Code.ALREADY_EXISTS:
                self.unsettled.pop(key, None)
            return
        self.unsettled.pop(key, None)
        if isinstance(request, m.CreateVolumeRequest):
            self.volumes[exchange.response(m.CreateVolumeResponse).volume.volume_id] = None
        elif isinstance(request, m.CreateSnapshotRequest):
            self.snapshots[exchange.response(m.CreateSnapshotResponse).snapshot.snapshot_id] = None
        else:
            group = exchange.response(m.CreateVolumeGroupSnapshotResponse).group_snapshot
            self.groups[group.group_snapshot_id] = tuple(member.snapshot_id for member in group.snapshots)

    def _record_end(self, request: Struct) -> None:
        match request:
            case m.NodeUnpublishVolumeRequest():
                self.targets.pop((request.volume_id, request.target_path), None)
            case m.NodeUnstageVolumeRequest():
                self.stages.pop((request.volume_id, request.staging_target_path), None)
            case m.ControllerUnpublishVolumeRequest():
                for key in [k for k in self.attachments if k[0] == request.volume_id]:
                    if request.node_id in ("", key[1]):
                        del self.attachments[key]
            case m.DeleteVolumeGroupSnapshotRequest():
                self.groups.pop(request.group_snapshot_id, None)
            case m.DeleteSnapshotRequest():
                self.snapshots.pop(request.snapshot_id, None)
            case m.DeleteVolumeRequest():
                self.volumes.pop(request.volume_id, None)

    def _presume(self, request: Struct) -> None:
        """Nobody heard how this call ended."""
        match request:
            case m.CreateVolumeRequest() | m.CreateSnapshotRequest() | m.CreateVolumeGroupSnapshotRequest():
                self.unsettled[BY_REQUEST[type(request)].name, request.name] = request
            case m.ControllerPublishVolumeRequest():
                self.attachments[request.volume_id, request.node_id] = None
            case m.NodeStageVolumeRequest():
                self.stages[request.volume_id, request.staging_target_path] = None
            case m.NodePublishVolumeRequest():
                self.targets[request.volume_id, request.target_path] = None

    def remaining(self) -> str:
        """What is still to be taken back, in words."""
        groups = {
            "target": [path for _, path in self.targets],
            "staging path": [path for _, path in self.stages],
            "attached volume": [volume for volume, _ in self.attachments],
            "group snapshot": list(self.groups),
            "snapshot": list(self.snapshots),
            "volume": list(self.volumes),
            "create of unknown outcome": [name for _, name in self.unsettled],
        }
        named = [f"{what} {', '.join(items)}" for what, items in groups.items() if items]
        return "; ".join(named) or "nothing that is known of"

    async def clean(self, settle: Settle) -> list[Exchange]:
        """Take everything back, in the order that the specification wants; what could not be is returned."""
        failed: list[Exchange] = []
        for request in self.running:
            self._presume(request)
        self.running = []
        for request in list(self.unsettled.values()):
            exchange = await settle(request)
            if not exchange.final:
                failed.append(exchange)
        node: list[Struct] = [
            *(m.NodeUnpublishVolumeRequest(volume_id=v, target_path=path) for v, path in reversed(self.targets)),
            *(m.NodeUnstageVolumeRequest(volume_id=v, staging_target_path=path) for v, path in reversed(self.stages)),
            *(m.ControllerUnpublishVolumeRequest(volume_id=v, node_id=n) for v, n in reversed(self.attachments)),
        ]
        failed += [done for request in node if not _gone(done := await settle(request))]
        failed += await self._delete_all(settle)
        return failed

    async def _delete_all(self, settle: Settle) -> list[Exchange]:
        """Groups, snapshots, volumes, newest first; refused ones again, as others may have depended on them."""
        requests: list[Struct] = [
            *(
                m.DeleteVolumeGroupSnapshotRequest(group_snapshot_id=group, snapshot_ids=members)
                for group, members in reversed(self.groups.items())
            ),
            *(m.DeleteSnapshotRequest(snapshot_id=snapshot) for snapshot in reversed(self.snapshots)),
            *(m.DeleteVolumeRequest(volume_id=volume) for volume in reversed(self.volumes)),
        ]
        failed: list[Exchange] = []
        while requests:
            failed = [done for request in requests if not _gone(done := await settle(request))]
            if len(failed) == len(requests):
                break
            requests = [exchange.request for exchange in failed]
        return failed


def _gone(exchange: Exchange) -> bool:
    return exchange.code in (Code.OK, Code.NOT_FOUND)
