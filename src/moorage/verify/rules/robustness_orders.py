"""The calls of real orchestrators in their order, with their paths, their repetitions and their restarts."""

from __future__ import annotations

import hashlib
import os
import uuid
from typing import Final

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import CapacityRange, ControllerCapability, NodeCapability, VolumeExpansion
from moorage.verify.content import Pattern
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Facility, Severity, Skipped, expect, rule
from moorage.verify.use import Use

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
ATTACH = ControllerCapability.PUBLISH_UNPUBLISH_VOLUME
_USED: Final = ("Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL)
_KUBELET_KEYS: Final = {
    "storage.kubernetes.io/csiProvisionerIdentity": "1700000000000-1234-verify",
    "csi.storage.k8s.io/pod.name": "verify-0",
    "csi.storage.k8s.io/pod.namespace": "default",
    "csi.storage.k8s.io/pod.uid": "9b1d8bf3-2f7c-4e5c-9a38-3d2a3f2f1b11",
    "csi.storage.k8s.io/serviceAccount.name": "default",
    "csi.storage.k8s.io/ephemeral": "false",
}


async def _made(lab: Lab, staging: str, target: str) -> Use:
    """A volume attached, with these paths for its use: the staging directory made, of the target the parent."""
    use = await lab.ready(await lab.create())
    if use.staging:
        await lab.io(os.makedirs, staging, 0o750, exist_ok=True)
        use.staging = staging
    await lab.io(os.makedirs, os.path.dirname(target), 0o750, exist_ok=True)
    use.target = target
    return use


def _kubernetes_paths(lab: Lab, volume_name: str) -> tuple[str, str]:
    """Where kubelet puts a volume: a directory for each volume, and one for each volume of a pod."""
    root, pod = lab.directory / "kubelet", uuid.UUID(int=lab.random.getrandbits(128))
    digest = hashlib.sha256(volume_name.encode()).hexdigest()
    if lab.capability().is_block:
        devices = root / "plugins/kubernetes.io/csi/volumeDevices"
        return str(devices / f"staging/{volume_name}"), str(devices / f"publish/{volume_name}/{pod}")
    staging = root / f"plugins/kubernetes.io/csi/{lab.peer.info.name}/{digest}/globalmount"
    return str(staging), str(root / f"pods/{pod}/volumes/kubernetes.io~csi/{volume_name}/mount")


@rule(
    "robustness.kubernetes-order",
    section="Volume Lifecycle",
    title="the calls of Kubernetes work in their order",
    sends="provision twice, attach, stage, publish twice with kubelet's keys in volume_context, stats, expand in use, "
    "unpublish, publish again for a new pod, unpublish twice, unstage twice, detach twice, delete twice",
    demands="OK each time, in kubelet's directories, with the data where a second pod expects it",
    needs=(CREATE, *_USED),
    danger=(Danger.CREATES,),
)
async def kubernetes_order(lab: Lab) -> None:
    name = f"pvc-{uuid.UUID(int=lab.random.getrandbits(128))}"
    staging, target = _kubernetes_paths(lab, name)
    use = await _made(lab, staging, target)
    context = {**use.volume.volume_context, **_KUBELET_KEYS}
    use.volume = msgspec.structs.replace(use.volume, volume_context=context)
    await use.stage()
    await use.publish(target=target)
    await use.publish(target=target)
    pattern = Pattern(seed=lab.random.getrandbits(32))
    await use.write(pattern)
    await _looked_at_and_grown(lab, use)
    await use.unpublish()
    _, second = _kubernetes_paths(lab, name)
    await lab.io(os.makedirs, os.path.dirname(second), 0o750, exist_ok=True)
    await use.stage()
    await use.publish(target=second)
    await use.expect_pattern(pattern, "when a second pod uses the volume")
    await use.unpublish()
    expect(not await lab.io(os.path.lexists, second), f"{second} is still there, so kubelet keeps the pod", lab.last)
    await _ended_twice(lab, use)


async def _looked_at_and_grown(lab: Lab, use: Use) -> None:
    volume_id = use.volume.volume_id
    if lab.has(NodeCapability.GET_VOLUME_STATS):
        exchange = await lab.settle(m.NodeGetVolumeStatsRequest(volume_id, use.target, use.staging))
        exchange.response(m.NodeGetVolumeStatsResponse)
    if not lab.has(ControllerCapability.EXPAND_VOLUME, VolumeExpansion.ONLINE):
        return
    size = max(lab.settings.expanded_bytes, use.volume.capacity_bytes)
    request = m.ControllerExpandVolumeRequest(
        volume_id, CapacityRange(required_bytes=size), volume_capability=use.capability
    )
    grown = (await lab.settle(request)).response(m.ControllerExpandVolumeResponse)
    if grown.node_expansion_required:
        on_node = m.NodeExpandVolumeRequest(
            volume_id, use.target, CapacityRange(required_bytes=grown.capacity_bytes), use.staging, use.capability
        )
        exchange = await lab.settle(on_node)
        if exchange.code is not Code.FAILED_PRECONDITION:  # which says that it cannot grow while it is in use
            exchange.response(m.NodeExpandVolumeResponse)


async def _ended_twice(lab: Lab, use: Use) -> None:
    """What an orchestrator does that does not remember whether it did it."""
    volume_id = use.volume.volume_id
    for _ in range(2):
        await use.unpublish()
    for _ in range(2):
        await use.unstage()
    if lab.has(ATTACH):
        for _ in range(2):
            (await lab.settle(use.detach_request())).response(m.ControllerUnpublishVolumeResponse)
    for _ in range(2):
        await lab.delete(volume_id)


def _nomad_paths(lab: Lab, volume_name: str) -> tuple[str, str]:
    """Where a Nomad client puts a volume: by namespace, volume and way of use; and by allocation."""
    root, allocation = lab.directory / "nomad", uuid.UUID(int=lab.random.getrandbits(128))
    kind = "block-device" if lab.capability().is_block else "file-system"
    usage = f"rw-{kind}-single-node-writer"
    staging = root / f"staging/default/{volume_name}/{usage}"
    return str(staging), str(root / f"per-alloc/{allocation}/{volume_name}/{usage}")


async def _probed(lab: Lab) -> None:
    """The health checks of Nomad's supervisor and of its two fingerprinters."""
    for request in (m.ProbeRequest(), m.ProbeRequest(), m.ProbeRequest(), m.NodeGetCapabilitiesRequest()):
        exchange = await lab.settle(request)
        exchange.response(exchange.rpc.response)


@rule(
    "robustness.nomad-order",
    section="Volume Lifecycle",
    title="the calls of Nomad work in their order",
    sends="probes, create, validate, attach, stage into a directory with mode 0700, publish where only the parent is "
    "there, probes, unpublish twice, unstage, detach twice, delete",
    demands="OK each time, and the data after the volume went from one allocation to the next",
    needs=(CREATE, *_USED),
    danger=(Danger.CREATES,),
)
async def nomad_order(lab: Lab) -> None:
    await _probed(lab)
    name = lab.name("nomad")
    staging, target = _nomad_paths(lab, name)
    use = await _made(lab, staging, target)
    validate = m.ValidateVolumeCapabilitiesRequest(
        use.volume.volume_id, (use.capability,), volume_context=use.volume.volume_context
    )
    (await lab.settle(validate)).response(m.ValidateVolumeCapabilitiesResponse)
    if use.staging:
        await lab.io(os.chmod, staging, 0o700)
    pattern = Pattern(seed=lab.random.getrandbits(32))
    await use.stage()
    await use.publish(target=target)
    await use.write(pattern)
    await _probed(lab)
    await _given_back(lab, use)
    _, second = _nomad_paths(lab, name)
    await lab.io(os.makedirs, os.path.dirname(second), 0o700, exist_ok=True)
    use.publish_context = await lab.attach(use.volume, use.capability)
    await use.stage()
    await use.publish(target=second)
    await use.expect_pattern(pattern, "when the next allocation uses the volume")
    await _given_back(lab, use)
    await lab.delete(use.volume.volume_id)


async def _given_back(lab: Lab, use: Use) -> None:
    """Nomad's client takes the volume away, and then its server has it done once more."""
    for _ in range(2):
        await use.unpublish()
        expect(
            not await lab.io(os.path.ismount, use.target),
            f"{use.target} is still mounted after NodeUnpublishVolume",
            lab.last,
        )
        await use.unstage()
    if lab.has(ATTACH):
        for _ in range(2):
            (await lab.settle(use.detach_request())).response(m.ControllerUnpublishVolumeResponse)


@rule(
    "robustness.restart-between-steps",
    section="Volume Lifecycle",
    title="a restart between two steps of a volume's way does not stop it",
    sends="attach; SIGKILL and a new start; attach again, stage; SIGKILL and a new start; stage again, publish",
    demands="OK each time, and a volume that takes data",
    needs=(CREATE, *_USED, Facility.RESTART),
    danger=(Danger.CREATES, Danger.RESTARTS),
)
async def restart_between_steps(lab: Lab) -> None:
    use = await lab.ready(await lab.create())
    await lab.peer.restart()
    use.publish_context = await lab.attach(use.volume, use.capability)
    await use.stage()
    if use.staging:
        await lab.peer.restart()
        await use.stage()
    await use.publish()
    pattern = Pattern(seed=lab.random.getrandbits(32))
    await use.write(pattern)
    await use.expect_pattern(pattern, "although the driver was restarted on the way")
    await use.end()
    await lab.delete(use.volume.volume_id)


@rule(
    "robustness.refused-staging",
    section="NodeStageVolume",
    title="a volume whose staging was refused is not in use",
    sends="NodeStageVolume with a mount flag that no file system knows; if that is refused for good: detach, "
    "DeleteVolume, without NodeUnstageVolume, which belongs to a staging that went well",
    demands="OK: nothing of the refused call is left that holds the volume",
    severity=Severity.SHOULD,
    needs=(CREATE, "Node", NodeCapability.STAGE_UNSTAGE_VOLUME, Facility.MOUNT, Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def refused_staging(lab: Lab) -> None:
    plain = lab.capability(block=False)
    use = await lab.ready(await lab.create(volume_capabilities=(plain,)), plain)
    use.capability = lab.capability(block=False, mount_flags=("no-such-flag",))
    exchange = await lab.settle(use.stage_request())
    if exchange.ok:
        raise Skipped("the driver stages volumes whatever the mount flags are")
    expect(exchange.final, f"NodeStageVolume comes to no end: {exchange.described()}", exchange)
    await use.detach()
    deleted = await lab.settle(m.DeleteVolumeRequest(use.volume.volume_id))
    await use.unstage()
    deleted.response(m.DeleteVolumeResponse)
