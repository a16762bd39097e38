"""Secrets planted in requests, and looked for in logs, answers and process lists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from moorage.spec import messages as m
from moorage.spec.types import CapacityRange, ControllerCapability
from moorage.verify.canaries import TOKENS_KEY, LogTail, canary, leak_in, token_of, with_canary
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.listings import eventually
from moorage.verify.processes import CommandLines
from moorage.verify.rule import Danger, Facility, Failed, Severity, Skipped, expect, rule
from moorage.verify.samples import CREATING, open_rpcs, sample

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
_LINE_SHOWN = 300
_LOG_PATIENCE_S = 2.0
"""What is written to the log may take a moment to get into the file."""


async def _told(lab: Lab, value: str) -> list[Exchange]:
    """The life of a volume, and a refusal of every RPC, with the canary among the secrets of each call."""
    first = len(lab.peer.exchanges)
    for rpc in open_rpcs(lab):
        if rpc.secret_fields and rpc.name not in CREATING:
            await lab.call(with_canary(lab, sample(lab, rpc), value))
    created = await lab.settle(with_canary(lab, lab.create_request(), value))
    volume = created.response(m.CreateVolumeResponse).volume
    if lab.has(ControllerCapability.CREATE_DELETE_SNAPSHOT):
        snapshot = m.CreateSnapshotRequest(
            volume.volume_id, lab.name("snap"), parameters=lab.settings.snapshot_parameters
        )
        await lab.settle(with_canary(lab, snapshot, value))
    if "Node" in lab.declared.services:
        use = await lab.ready(volume)
        use.target = lab.path()
        if use.staging:
            await lab.settle(with_canary(lab, use.stage_request(), value))
        await lab.settle(with_canary(lab, use.publish_request(use.target), value))
        await use.end()
    if lab.has(ControllerCapability.EXPAND_VOLUME):
        larger = CapacityRange(required_bytes=max(lab.settings.expanded_bytes, volume.capacity_bytes))
        expand = m.ControllerExpandVolumeRequest(volume.volume_id, larger, volume_capability=lab.capability())
        await lab.settle(with_canary(lab, expand, value))
    await lab.settle(with_canary(lab, m.ValidateVolumeCapabilitiesRequest(volume.volume_id, ()), value))
    return lab.peer.exchanges[first:]


def _log_of(lab: Lab) -> LogTail:
    path = lab.settings.log_file
    if path is None or not path.is_file():
        raise Skipped(f"the log file {path} is not there")
    return LogTail(path)


async def _expect_not_logged(lab: Lab, log: LogTail, value: str, what: str) -> None:
    await eventually(lambda: lab.io(log.grew), patience_s=_LOG_PATIENCE_S)
    line = await lab.io(log.line_with, value)
    expect(not line, f"{what} is in the log: {line[:_LINE_SHOWN]}")


@rule(
    "robustness.secrets-not-logged",
    section="Secrets Requirements",
    title="secrets are not in the log",
    sends="the life of a volume and a refusal of every RPC, with a made-up secret in each call that takes secrets",
    demands="a log without its value",
    needs=(CREATE, Facility.LOG),
    danger=(Danger.CREATES,),
)
async def secrets_not_logged(lab: Lab) -> None:
    value, log = canary(lab), _log_of(lab)
    await _told(lab, value)
    await _expect_not_logged(lab, log, value, "a secret of a request")
    if not await lab.io(log.grew):
        raise Skipped(f"nothing was written to {log.path} meanwhile: it is not the driver's log, or a silent one")


@rule(
    "robustness.secrets-not-answered",
    section="Secrets Requirements",
    title="secrets do not come back in answers",
    sends="the calls of robustness.secrets-not-logged",
    demands="messages, volume contexts, publish contexts and all other fields without its value: "
    "orchestrators store and show them",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def secrets_not_answered(lab: Lab) -> None:
    value = canary(lab)
    leak = leak_in(await _told(lab, value), value)
    if leak is not None:
        raise Failed(f"the answer of {leak.rpc.name} has a secret of the request in it", leak)


@rule(
    "robustness.secrets-not-in-processes",
    section="Secrets Requirements",
    title="secrets are not in any command line",
    sends="the calls of robustness.secrets-not-logged, while the command lines of the driver's processes are read",
    demands="no command line with its value: every user of the machine can read them",
    needs=(CREATE, Facility.PROCESS),
    danger=(Danger.CREATES,),
)
async def secrets_not_in_processes(lab: Lab) -> None:
    value = canary(lab)
    with CommandLines(lab.peer.pids(), [value]) as watch:
        await _told(lab, value)
    for line in watch.found:
        shown = line.replace(value, "<canary>")[:_LINE_SHOWN]
        raise Failed(f"a secret of a request is an argument of a program that the driver ran: {shown}")


async def _planted(lab: Lab, value: str, what: str, calls: Callable[[str], Awaitable[None]]) -> None:
    """Make calls with a canary; neither their answers nor the log, where there is one, may have it."""
    log = _log_of(lab) if lab.settings.log_file else None
    first = len(lab.peer.exchanges)
    await calls(value)
    leak = leak_in(lab.peer.exchanges[first:], value)
    if leak is not None:
        raise Failed(f"the answer of {leak.rpc.name} has {what} of the request in it", leak)
    if log is not None:
        await _expect_not_logged(lab, log, value, what)


@rule(
    "robustness.mount-flags-not-leaked",
    section="VolumeCapability",
    title="mount flags are kept to oneself",
    sends="CreateVolume, staging and publishing with a mount flag that no file system knows",
    demands="no trace of the flag in messages and log, whatever is answered: it may hold a password",
    severity=Severity.SHOULD,
    needs=(CREATE, "Node", Facility.MOUNT),
    danger=(Danger.CREATES,),
)
async def mount_flags_not_leaked(lab: Lab) -> None:
    async def calls(value: str) -> None:
        flagged = lab.capability(block=False, mount_flags=(f"password={value}",))
        await lab.call(lab.create_request(volume_capabilities=(flagged,)))
        plain = lab.capability(block=False)
        use = await lab.ready(await lab.create(volume_capabilities=(plain,)), plain)
        use.capability = flagged
        if use.staging:
            await lab.call(use.stage_request())
        use.target = lab.path()
        await lab.call(use.publish_request(use.target))
        await use.unpublish()
        await use.unstage()

    await _planted(lab, canary(lab), "a mount flag", calls)


@rule(
    "robustness.tokens-not-leaked",
    section="NodePublishVolume",
    title="service account tokens are kept to oneself",
    sends=f"staging and publishing with {TOKENS_KEY} in volume_context, as Kubernetes sends it",
    demands="no trace of the token in messages and log",
    severity=Severity.SHOULD,
    needs=(CREATE, "Node"),
    danger=(Danger.CREATES,),
)
async def tokens_not_leaked(lab: Lab) -> None:
    async def calls(value: str) -> None:
        use = await lab.ready(await lab.create())
        use.volume = msgspec.structs.replace(
            use.volume, volume_context={**use.volume.volume_context, TOKENS_KEY: token_of(value)}
        )
        if use.staging:
            await lab.call(use.stage_request())
        await lab.call(use.publish_request(lab.path()))
        await lab.call(msgspec.structs.replace(use.publish_request(lab.path()), staging_target_path=lab.path()))

    await _planted(lab, canary(lab), "a service account token", calls)
