"""Planted secrets are seen nowhere while the real driver works, fails, is abandoned and is asked what it does.

Not in its log at debug level, not in what it answers, not in its journal or pool, not in its metrics, not in the
arguments of its children.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from tests.support.adversary import NODE, ServedLocal

from moorage.spec import messages as m
from moorage.spec.convert import from_proto
from moorage.spec.errors import Code, CsiError
from moorage.spec.redact import TOKENS_KEY
from moorage.spec.rules import RPCS
from moorage.spec.types import (
    AccessMode,
    CapacityRange,
    MountAccess,
    Secrets,
    SnapshotSource,
    VolumeCapability,
    VolumeSource,
)

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]

MIB: Final = 1 << 20
SECRET: Final = "canary-secret-5b1f"
LINES: Final = "canary-first-line-77\ncanary-second-line-78"
FLAG: Final = "canary-flag-9e0c"
TOKEN: Final = "canary-token-c4a2"
PLANTED: Final = (SECRET, *LINES.split("\n"), FLAG, TOKEN)
SECRETS: Final = Secrets(password=SECRET, key=LINES)
TOKENS: Final = {TOKENS_KEY: json.dumps({"aud": {"token": TOKEN, "expirationTimestamp": "2030-01-01T00:00:00Z"}})}
INLINE: Final = {"csi.storage.k8s.io/ephemeral": "true", "size": "64Mi", **TOKENS}
SIZE: Final = CapacityRange(64 * MIB)
# A comment is what mount(8) ignores, so the kernel takes the flags; the other flag it refuses.
MOUNT: Final = VolumeCapability(
    AccessMode.SINGLE_NODE_MULTI_WRITER, MountAccess("", (f"comment={FLAG}", f"x-pw={FLAG}"))
)
REFUSED: Final = VolumeCapability(AccessMode.SINGLE_NODE_MULTI_WRITER, MountAccess("", (f"password={FLAG}",)))
FORMATS: Final = [pytest.param("console"), pytest.param("json")]


class Witness:
    """Makes calls and keeps all that anybody could see of them."""

    def __init__(self, driver: ServedLocal, base: Path) -> None:
        self.driver = driver
        self.base = base
        self.said: list[str] = []
        self.codes: set[Code] = set()
        self.asked: set[str] = set()

    async def call(self, rpc: str, request: Any, *, timeout_s: float = 60.0) -> Any:
        """The answer or None; whatever is said is kept, response and error alike.

        The raw status is looked at, for our own client would clean it.
        """
        if any(getattr(request, field) for field in RPCS[rpc].secret_fields):
            self.asked.add(rpc)
        client = self.driver.client
        try:
            if RPCS[rpc].streaming:
                stream = client.stream(rpc, request, RPCS[rpc].response, timeout_s=timeout_s)
                answer: Any = [message async for message in stream]
            else:
                answer = await client.call(rpc, request, timeout_s=timeout_s)
        except CsiError as error:
            self.codes.add(error.code)
            self.said.append(f"{rpc}: {error.message}")
            return None
        if rpc != "ValidateVolumeCapabilities":  # confirms what it was asked about, to the one who asked
            self.said.append(f"{rpc}: {msgspec.json.encode(answer).decode()}")
        return answer

    async def volume(self, name: str, source: Any = None) -> str:
        request = m.CreateVolumeRequest(name, (MOUNT,), SIZE, secrets=SECRETS, volume_content_source=source)
        answer = await self.call("CreateVolume", request)
        assert answer is not None, self.said[-1]
        volume_id: str = answer.volume.volume_id
        return volume_id

    def findings(self) -> list[str]:
        """Where a planted secret was seen."""
        found = [f"answer {text}" for text in self.said if shown_in(text.encode())]
        found += [f"log: {line}" for line in self.driver.log_path.read_text().splitlines() if shown_in(line.encode())]
        for place in (self.driver.state_dir, self.driver.pool):
            for path in place.rglob("*"):
                if path.is_file() and path.suffix != ".img" and shown_in(path.read_bytes()):
                    found.append(f"file {path}")
        return found


def shown_in(data: bytes) -> bool:
    return any(text.encode() in data for text in PLANTED)


def shown_by_children(pid: int) -> list[bytes]:
    """The arguments and environments of a process's children at this moment, with its own arguments."""
    seen = [Path(f"/proc/{pid}/cmdline").read_bytes()]
    for task in os.listdir(f"/proc/{pid}/task"):
        with suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                seen += [Path(f"/proc/{child}/cmdline").read_bytes(), Path(f"/proc/{child}/environ").read_bytes()]
    return seen


@asynccontextmanager
async def watched_children(pid: int) -> AsyncIterator[set[bytes]]:
    """What children showed of themselves during the body."""
    seen: set[bytes] = set()
    over = asyncio.Event()

    def look() -> None:
        while not over.is_set():
            seen.update(shown_by_children(pid))

    looking = asyncio.create_task(asyncio.to_thread(look))
    try:
        yield seen
    finally:
        over.set()
        await looking


async def lead_a_life(witness: Witness) -> None:
    """Every RPC that takes a secret, where it succeeds."""
    call, base = witness.call, witness.base
    one = await witness.volume("one")
    cut = await call("CreateSnapshot", m.CreateSnapshotRequest(one, "cut", SECRETS))
    snapshot = cut.snapshot.snapshot_id
    restored, clone = (
        await witness.volume("restored", SnapshotSource(snapshot)),
        await witness.volume("clone", VolumeSource(one)),
    )
    staging, target = str(base / "staging"), str(base / "target")
    os.makedirs(staging)
    await call("ControllerPublishVolume", m.ControllerPublishVolumeRequest(one, NODE, MOUNT, False, SECRETS, TOKENS))
    stage = m.NodeStageVolumeRequest(one, staging, MOUNT, secrets=SECRETS, volume_context=TOKENS)
    publish = m.NodePublishVolumeRequest(one, target, MOUNT, staging, secrets=SECRETS, volume_context=TOKENS)
    assert await call("NodeStageVolume", stage) is not None, witness.said[-1]
    assert await call("NodePublishVolume", publish) is not None, witness.said[-1]
    assert await call("NodeStageVolume", stage) is not None, witness.said[-1]
    assert await call("NodePublishVolume", publish) is not None, witness.said[-1]
    validate = m.ValidateVolumeCapabilitiesRequest(one, (MOUNT,), TOKENS, {}, SECRETS)
    await call("ValidateVolumeCapabilities", validate)
    await call("ControllerExpandVolume", m.ControllerExpandVolumeRequest(one, SIZE, SECRETS, MOUNT))
    await call("NodeExpandVolume", m.NodeExpandVolumeRequest(one, target, SIZE, staging, MOUNT, SECRETS))
    await call("ControllerModifyVolume", m.ControllerModifyVolumeRequest(one, {"readAheadKiB": "256"}, SECRETS))
    await call("ControllerGetVolumeHealth", m.ControllerGetVolumeHealthRequest(one, SECRETS))
    await call("ControllerListVolumeHealth", m.ControllerListVolumeHealthRequest(secrets=SECRETS))
    await call("NodeGetStorageHealth", m.NodeGetStorageHealthRequest(SECRETS))
    await call("ListSnapshots", m.ListSnapshotsRequest(secrets=SECRETS))
    await call("GetSnapshot", m.GetSnapshotRequest(snapshot, SECRETS))
    await call("GetMetadataAllocated", m.GetMetadataAllocatedRequest(snapshot, secrets=SECRETS))
    await call("GetMetadataDelta", m.GetMetadataDeltaRequest(snapshot, snapshot, secrets=SECRETS))
    group = await call("CreateVolumeGroupSnapshot", m.CreateVolumeGroupSnapshotRequest("g", (one, clone), SECRETS))
    members = tuple(each.snapshot_id for each in group.group_snapshot.snapshots)
    group_id = group.group_snapshot.group_snapshot_id
    await call("GetVolumeGroupSnapshot", m.GetVolumeGroupSnapshotRequest(group_id, members, SECRETS))
    inline = m.NodePublishVolumeRequest("csi-1", str(base / "inline"), MOUNT, secrets=SECRETS, volume_context=INLINE)
    assert await call("NodePublishVolume", inline) is not None, witness.said[-1]
    await call("ListVolumes", m.ListVolumesRequest())
    await call("ControllerGetVolume", m.ControllerGetVolumeRequest(one))
    assert witness.findings() == []  # with everything in use, and the journal full of rows
    await call("NodeUnpublishVolume", m.NodeUnpublishVolumeRequest("csi-1", str(base / "inline")))
    await call("NodeUnpublishVolume", m.NodeUnpublishVolumeRequest(one, target))
    await call("NodeUnstageVolume", m.NodeUnstageVolumeRequest(one, staging))
    await call("ControllerUnpublishVolume", m.ControllerUnpublishVolumeRequest(one, NODE, SECRETS))
    await call("DeleteVolumeGroupSnapshot", m.DeleteVolumeGroupSnapshotRequest(group_id, members, SECRETS))
    await call("DeleteSnapshot", m.DeleteSnapshotRequest(snapshot, SECRETS))
    for volume_id in (one, restored, clone):
        assert await call("DeleteVolume", m.DeleteVolumeRequest(volume_id, SECRETS)) is not None, witness.said[-1]


async def be_refused(witness: Witness) -> None:
    """Every RPC with nothing but secrets, and the refusals that come late."""
    for name, rpc in RPCS.items():
        if rpc.secret_fields:
            empty = from_proto(rpc.request_proto())
            await witness.call(name, msgspec.structs.replace(empty, **dict.fromkeys(rpc.secret_fields, SECRETS)))
    call, base = witness.call, witness.base
    volume_id = await witness.volume("refused")
    other = m.CreateVolumeRequest("refused", (MOUNT,), CapacityRange(80 * MIB), secrets=SECRETS)
    await call("CreateVolume", other)
    wrong = m.CreateVolumeRequest("wrong", (MOUNT,), SIZE, {"nonsense": "1"}, SECRETS)
    await call("CreateVolume", wrong)
    await call("ControllerPublishVolume", m.ControllerPublishVolumeRequest(volume_id, "nowhere", MOUNT, False, SECRETS))
    staging = str(base / "refused")
    os.makedirs(staging)
    await call("NodeStageVolume", m.NodeStageVolumeRequest(volume_id, staging, REFUSED, {}, SECRETS, TOKENS))
    await call("NodeStageVolume", m.NodeStageVolumeRequest(volume_id, f"{staging}/none", MOUNT, {}, SECRETS, TOKENS))
    await call(
        "NodePublishVolume", m.NodePublishVolumeRequest("none", staging, MOUNT, staging, False, {}, SECRETS, TOKENS)
    )
    await call("NodeUnstageVolume", m.NodeUnstageVolumeRequest(volume_id, staging))
    await call("DeleteVolume", m.DeleteVolumeRequest(volume_id, SECRETS))


async def make_file_systems(witness: Witness, seen: set[bytes]) -> None:
    """Until a child was seen at work: they live for milliseconds only."""
    for number in range(30):
        if any(b"mkfs" in text for text in seen):
            return
        volume_id, staging = await witness.volume(f"more {number}"), str(witness.base / f"more-{number}")
        os.makedirs(staging)
        for rpc, request in (
            ("NodeStageVolume", m.NodeStageVolumeRequest(volume_id, staging, MOUNT, {}, SECRETS, TOKENS)),
            ("NodeUnstageVolume", m.NodeUnstageVolumeRequest(volume_id, staging)),
        ):
            assert await witness.call(rpc, request) is not None, witness.said[-1]


FAULTS: Final[list[dict[str, Any]]] = [
    {"point": "before:local.image.made", "action": "errno:EIO"},
    {"point": "before:local.image.made", "action": "errno:EDOM"},
    {"point": "before:framework.volume.recorded", "action": "errno:ENOSPC"},
    {"point": "before:node.stage.formatted", "action": "errno:EDOM"},
    {"point": "before:node.stage.mounted", "action": "errno:EIO"},
    {"point": "before:node.publish.mounted", "action": "errno:EDOM"},
    {"point": "before:local.image.cloned", "action": "errno:EDOM"},
    {"point": "before:local.image.identified", "action": "delay:1.5", "skip": 1},
]


async def fail(witness: Witness) -> None:
    """The storage fails, in ways that are foreseen and in ways that are not; then all succeeds."""
    call, base = witness.call, witness.base
    create = m.CreateVolumeRequest("failing", (MOUNT,), SIZE, secrets=SECRETS)
    volume_id = ""
    for _ in range(5):
        if answer := await call("CreateVolume", create):
            volume_id = answer.volume.volume_id
    staging, target = str(base / "failing"), str(base / "failing-target")
    os.makedirs(staging)
    for _ in range(4):
        await call("NodeStageVolume", m.NodeStageVolumeRequest(volume_id, staging, MOUNT, {}, SECRETS, TOKENS))
    for _ in range(2):
        publish = m.NodePublishVolumeRequest(volume_id, target, MOUNT, staging, False, {}, SECRETS, TOKENS)
        await call("NodePublishVolume", publish)
    assert os.path.ismount(target)
    for _ in range(2):
        await call("CreateSnapshot", m.CreateSnapshotRequest(volume_id, "failing", SECRETS))
    clone = m.CreateVolumeRequest("late", (MOUNT,), SIZE, {}, SECRETS, VolumeSource(volume_id))
    await call("CreateVolume", m.CreateVolumeRequest("soon", (MOUNT,), SIZE, {}, SECRETS, VolumeSource(volume_id)))
    await call("CreateVolume", clone, timeout_s=0.4)  # goes on without its caller
    assert Code.DEADLINE_EXCEEDED in witness.codes
    witness.said.append(await witness.driver.fetch("/operations"))
    os.kill(witness.driver.pid, 10)  # SIGUSR1: what runs goes into the log
    await witness.driver.idle()
    for path, rpc in ((target, "NodeUnpublishVolume"), (staging, "NodeUnstageVolume")):
        assert await call(rpc, RPCS[rpc].request(volume_id, path)) is not None, witness.said[-1]


@pytest.mark.parametrize("form", FORMATS)
async def test_no_secret_is_seen(tmp_path: Path, pool: Path, form: str) -> None:
    base = tmp_path / "node"
    driver = ServedLocal(tmp_path, pool, log=(form, "debug"))
    await driver.start(faults=FAULTS)
    witness = Witness(driver, base)
    try:
        async with watched_children(driver.pid) as children:
            await fail(witness)
            await be_refused(witness)
            await lead_a_life(witness)
            witness.said.append(await driver.fetch("/metrics"))
            await make_file_systems(witness, children)
    finally:
        status = await driver.stop()
    assert status == 0
    assert witness.findings() == []
    assert [text for text in children if shown_in(text)] == []
    assert any(b"mkfs" in text for text in children), "no child was seen at work"
    assert {name for name, rpc in RPCS.items() if rpc.secret_fields} == witness.asked
    assert {Code.INTERNAL, Code.INVALID_ARGUMENT, Code.UNAVAILABLE, Code.ALREADY_EXISTS} <= witness.codes
    log = driver.log_path.read_text()
    assert "rpc.request" in log
    assert "stripped" in log
    assert driver.journal_files()
