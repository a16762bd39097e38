"""Who the driver says it is and what it declares: sound, the same each time and everywhere, and kept to."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import Final

from msgspec import Struct

from moorage.rpc.raw import RawClient
from moorage.spec import messages as m
from moorage.spec.capabilities import contradictions, gate_open
from moorage.spec.errors import Code
from moorage.spec.names import driver_name_problem, driver_name_warning
from moorage.spec.responses import response_problems
from moorage.spec.rules import RPCS
from moorage.spec.types import ControllerCapability, OpenEnum
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Facility, Failed, Severity, Skipped, expect, rule
from moorage.verify.samples import sample
from moorage.verify.together import together

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
_PROBE_LIMIT_S: Final = 3.0
_PROBE_PAUSE_S: Final = 0.02
_BUSY_VOLUMES: Final = 6
_TIMES: Final = 3

_SELF_DESCRIPTIONS: Final[tuple[Struct, ...]] = (
    m.GetPluginInfoRequest(),
    m.GetPluginCapabilitiesRequest(),
    m.ControllerGetCapabilitiesRequest(),
    m.GroupControllerGetCapabilitiesRequest(),
    m.NodeGetCapabilitiesRequest(),
)


async def _said(lab: Lab) -> list[Exchange]:
    """What the driver answers to every question about itself; services that it does not serve are left out."""
    answers = [await lab.settle(request) for request in _SELF_DESCRIPTIONS]
    for answer in answers:
        if answer.code is not Code.UNIMPLEMENTED:
            answer.response(answer.rpc.response)
    return [answer for answer in answers if answer.ok]


@rule(
    "wire.plugin-info",
    section="GetPluginInfo",
    title="the plugin has a legal name and a version",
    sends="GetPluginInfo",
    demands="a domain name of at most 63 characters (letters, digits, '-' and '.'), and a version that is not empty",
)
async def plugin_info(lab: Lab) -> None:
    exchange = await lab.settle(m.GetPluginInfoRequest())
    info = exchange.response(m.GetPluginInfoResponse)
    if problem := driver_name_problem(info.name):
        raise Failed(f"the plugin's name is {info.name!r}, which {problem}", exchange)
    expect(bool(info.vendor_version), "vendor_version is empty", exchange)


@rule(
    "wire.plugin-name-letters",
    section="GetPluginInfo",
    title="the plugin's name begins and ends with a letter",
    sends="GetPluginInfo",
    demands="a letter at both ends: the specification allows digits, but csi-sanity refuses them",
    severity=Severity.ADVICE,
)
async def plugin_name_letters(lab: Lab) -> None:
    exchange = await lab.settle(m.GetPluginInfoRequest())
    name = exchange.response(m.GetPluginInfoResponse).name
    if problem := driver_name_warning(name):
        raise Failed(f"the plugin's name {name!r} {problem}", exchange)


@rule(
    "wire.capabilities-known",
    section="GetPluginCapabilities",
    title="every declared capability has a meaning",
    sends="GetPluginCapabilities, ControllerGetCapabilities, GroupControllerGetCapabilities, NodeGetCapabilities",
    demands="answers without UNKNOWN (0) and without one capability twice; skipped for numbers newer than CSI 1.13",
)
async def capabilities_known(lab: Lab) -> None:
    newer: list[str] = []
    for exchange in await _said(lab):
        response = exchange.response(exchange.rpc.response)
        message = exchange.rpc.response_proto.FromString(exchange.answer.bodies[0])
        if problems := response_problems(exchange.rpc, message):
            raise Failed(problems[0], exchange)
        newer += [f"{exchange.rpc.name} number {number}" for number in _unrecognized(response)]
    if newer:
        raise Skipped(f"declared, and unknown to CSI 1.13: {', '.join(newer)}; a later version may define it")


def _unrecognized(response: Struct) -> list[int]:
    found = [getattr(response, field) for field in response.__struct_fields__]
    members = [member for value in found if isinstance(value, frozenset) for member in value]
    return sorted(int(member) for member in members if isinstance(member, OpenEnum) and not member.recognized)


@rule(
    "wire.capabilities-agree",
    section="GetPluginCapabilities",
    title="the declared capabilities do not contradict each other",
    sends="nothing of its own: what was declared when the suite began",
    demands="every capability that another one needs, and no two that exclude each other",
)
async def capabilities_agree(lab: Lab) -> None:
    if found := contradictions(lab.declared):
        raise Failed("; ".join(found))


@rule(
    "wire.answers-stable",
    section="GetPluginCapabilities",
    title="the driver says the same about itself each time",
    sends=f"GetPluginInfo and the four GetCapabilities, {_TIMES} times, and over a second connection",
    demands="the answers that they had all through the run, whatever the order in them",
)
async def answers_stable(lab: Lab) -> None:
    for _ in range(_TIMES - 1):
        await _said(lab)
    for exchange in await _said(lab):
        for earlier in lab.peer.exchanges:
            if earlier.rpc is exchange.rpc and earlier.ok:
                _expect_equal(earlier, exchange, "than it did before")
        client = RawClient(exchange.endpoint)
        try:
            answer = await client.call(exchange.rpc.path, b"", timeout_s=lab.settings.call_timeout_s)
        finally:
            await client.close()
        again = Exchange(exchange.rpc, exchange.endpoint, exchange.request, answer)
        _expect_equal(exchange, again, "over another connection")


def _expect_equal(one: Exchange, other: Exchange, when: str) -> None:
    expect(
        other.ok and _read(one) == _read(other),
        f"{other.rpc.name} answers something else {when}; the other answer is {one.answer_view().get('response')}",
        other,
    )


def _read(exchange: Exchange) -> Struct:
    return exchange.response(exchange.rpc.response)


def _expect_same(before: list[Exchange], after: list[Exchange], when: str) -> None:
    names = [[exchange.rpc.name for exchange in said] for said in (before, after)]
    expect(names[0] == names[1], f"other services are served {when}: {names[1]} instead of {names[0]}")
    for earlier, later in zip(before, after, strict=True):
        _expect_equal(earlier, later, when)


@rule(
    "wire.same-after-restart",
    section="GetPluginCapabilities",
    title="the driver is the same after a restart",
    sends="GetPluginInfo, the GetCapabilities and NodeGetInfo; SIGKILL and a new start; the same again",
    demands="equal answers; of NodeGetInfo the node id and the topology",
    needs=(Facility.RESTART,),
    danger=(Danger.RESTARTS,),
)
async def same_after_restart(lab: Lab) -> None:
    before, node = await _said(lab), lab.peer.node
    await lab.peer.restart()
    _expect_same(before, await _said(lab), "after a restart")
    if "Node" in lab.declared.services:
        exchange = await lab.settle(m.NodeGetInfoRequest())
        again = exchange.response(m.NodeGetInfoResponse)
        same = (again.node_id, again.accessible_topology) == (node.node_id, node.accessible_topology)
        expect(same, f"the node was {node.node_id!r} and is {again.node_id!r} or elsewhere after a restart", exchange)


@rule(
    "wire.identity-at-node",
    section="Identity Service RPC",
    title="the socket of the Node service serves Identity as well",
    sends="GetPluginInfo, GetPluginCapabilities and Probe at the node's socket, on a connection of its own",
    demands="the answers that the controller's socket gives",
    needs=("Node",),
)
async def identity_at_node(lab: Lab) -> None:
    client = RawClient(lab.peer.node_endpoint)
    try:
        for request in (m.GetPluginInfoRequest(), m.GetPluginCapabilitiesRequest(), m.ProbeRequest()):
            here = await lab.settle(request)
            answer = await client.call(here.rpc.path, b"", timeout_s=lab.settings.call_timeout_s)
            there = Exchange(here.rpc, lab.peer.node_endpoint, request, answer)
            expect(there.ok, f"{here.rpc.name} at the node's socket answers {there.described()}", there)
            expect(_read(here) == _read(there), f"{here.rpc.name} at the node's socket answers something else", there)
    finally:
        await client.close()


@rule(
    "wire.undeclared-unimplemented",
    section="Error Scheme",
    title="what is not declared is not there",
    sends="a request to every RPC whose service or capability the driver does not declare, about things that do not "
    "exist",
    demands="UNIMPLEMENTED: another answer makes an orchestrator believe that it can be used",
    severity=Severity.SHOULD,
    danger=(Danger.CREATES,),
)
async def undeclared_unimplemented(lab: Lab) -> None:
    closed = [rpc for rpc in RPCS.values() if not gate_open(rpc, lab.declared)]
    if not closed:
        raise Skipped("the driver declares everything that there is")
    for rpc in closed:
        exchange = await lab.call(sample(lab, rpc))
        exchange.refused(Code.UNIMPLEMENTED, why="the driver does not declare it")


@rule(
    "wire.probe",
    section="Probe",
    title="a healthy driver says so whenever it is asked",
    sends="Probe, one after another and several at once",
    demands="OK each time, with `ready` true or absent",
)
async def probe(lab: Lab) -> None:
    answers = [await lab.call(m.ProbeRequest()) for _ in range(_TIMES)]
    answers += await together(lab.call(m.ProbeRequest()) for _ in range(2 * _TIMES))
    for answer in answers:
        ready = answer.response(m.ProbeResponse).ready
        expect(ready is not False, "Probe says that the driver is not ready, after it was ready before", answer)


@rule(
    "wire.probe-while-busy",
    section="Probe",
    title="Probe is answered while volumes are made",
    sends=f"CreateVolume for {_BUSY_VOLUMES} volumes at once, and Probe again and again until they are there",
    demands=f"OK within {_PROBE_LIMIT_S:g} s each time: a liveness probe that waits has the driver killed at work",
    severity=Severity.SHOULD,
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def probe_while_busy(lab: Lab) -> None:
    creates = [asyncio.ensure_future(lab.settle(lab.create_request())) for _ in range(_BUSY_VOLUMES)]
    try:
        while True:
            answer = await lab.call(m.ProbeRequest(), timeout_s=_PROBE_LIMIT_S)
            expect(answer.ok, f"while volumes are made, Probe answers {answer.described()}", answer)
            if all(create.done() for create in creates):
                return
            await asyncio.sleep(_PROBE_PAUSE_S)
    finally:
        await together(creates)


@rule(
    "wire.socket-access",
    section="Security",
    title="not everybody can connect to the driver",
    sends="nothing; looks at the mode of the socket file and of its directory",
    demands="no write permission for others: whoever connects can delete volumes and mount them",
    severity=Severity.ADVICE,
    needs=(Facility.LOCAL,),
)
async def socket_access(lab: Lab) -> None:
    for path in _socket_paths(lab):
        open_to_all = await lab.io(_open_to_all, path)
        expect(not open_to_all, f"every user of the machine can connect to {path}: its mode lets others write")


def _socket_paths(lab: Lab) -> list[str]:
    paths = {endpoint.removeprefix("unix://").removeprefix("unix:") for endpoint in _endpoints(lab)}
    found = sorted(path for path in paths if os.path.exists(path))
    if not found:
        raise Skipped("the driver's socket is no file that can be seen here")
    return found


def _endpoints(lab: Lab) -> tuple[str, str]:
    return lab.peer.endpoint, lab.peer.node_endpoint


def _open_to_all(path: str) -> bool:
    if not os.stat(path).st_mode & stat.S_IWOTH:
        return False
    above = os.path.dirname(os.path.realpath(path))
    while above != "/":
        if not os.stat(above).st_mode & stat.S_IXOTH:
            return False
        above = os.path.dirname(above)
    return True


@rule(
    "wire.socket-alone",
    section="Filesystem",
    title="the driver puts nothing beside its socket, whose name ends in .sock",
    sends="a volume made and used; looks at the socket's directory before and meanwhile",
    demands="no new files or directories there: the directory belongs to whoever started the driver",
    severity=Severity.ADVICE,
    needs=(CREATE, Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def socket_alone(lab: Lab) -> None:
    paths = _socket_paths(lab)
    for path in paths:
        expect(path.endswith(".sock"), f"the socket {path} has no name that ends in .sock")
    own = {str(lab.settings.work_dir), *map(str, lab.directory.parents)}
    places = sorted({os.path.dirname(path) for path in paths})
    before = await lab.io(_entries, places)
    volume = await lab.create()
    use = await lab.use(volume) if "Node" in lab.declared.services else None
    new = await lab.io(_entries, places) - before - own
    if use is not None:
        await use.end()
    await lab.delete(volume.volume_id)
    expect(not new, f"{min(new, default='')} appeared beside the socket while a volume was made and used")


def _entries(directories: list[str]) -> set[str]:
    return {entry.path for directory in directories for entry in os.scandir(directory)}
