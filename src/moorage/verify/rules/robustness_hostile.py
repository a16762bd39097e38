"""Names, ids and paths made to do harm: whatever the driver answers, nothing happens that nobody asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from msgspec import Struct

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.rules import STRING_LIMIT_BYTES
from moorage.spec.types import ControllerCapability, NodeCapability
from moorage.verify.content import Pattern
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Facility, Failed, Severity, expect, rule
from moorage.verify.samples import CREATING, open_rpcs, sample
from moorage.verify.together import together

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
_PRECIOUS: Final = "precious"
_BROKEN: Final = frozenset({Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS})
_CLIMB: Final = "../" * 12


async def _precious(lab: Lab) -> Path:
    """A directory with a file in it that no call may touch."""
    path = lab.directory / _PRECIOUS
    await lab.io(path.mkdir)
    await lab.io((path / "file").write_text, _PRECIOUS)
    return path


async def _expect_untouched(lab: Lab, path: Path, exchange: Exchange | None = None) -> None:
    try:
        text = await lab.io((path / "file").read_text)
    except OSError:
        text = ""
    expect(text == _PRECIOUS, f"the driver has removed or changed {path}/file, which belongs to no volume", exchange)


def _names(lab: Lab, mark: str) -> list[str]:
    """Names that are legal and read as something else by shells, paths, options, formats and tables."""
    own = lab.name()
    names = [
        f"../../../{own}",
        f"{own}/..",
        f"/{own}/a/b",
        f"-rf {own}",
        f"--{own}",
        f"$(touch {mark})",
        f"'; touch {mark}; '",
        f"| touch {mark}",
        f"{own} %s%n{{0}}",
        f"{own},a=b:c;d",
        f"{own}\tand\nline",
        f"{own} ŕùḿ 名前 🙂",
        f"\u202e{own}",
        own + "x" * (STRING_LIMIT_BYTES - len(own)),
    ]
    return [name for name in names if len(name.encode()) <= STRING_LIMIT_BYTES]


@rule(
    "robustness.hostile-names",
    section="CreateVolume",
    title="a name is a name, whatever stands in it",
    sends="CreateVolume and DeleteVolume for names with '..', '/', leading '-', shell commands, line feeds, formats",
    demands="volumes of their own or a refusal; no program run, no file made, no INTERNAL or UNKNOWN",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def hostile_names(lab: Lab) -> None:
    mark = lab.directory / "mark"
    names = _names(lab, str(mark))
    answers = await together(lab.settle(lab.create_request(name=name)) for name in names)
    expect(not await lab.io(os.listdir, lab.directory), f"a volume's name was run as a command, which made {mark}")
    volumes: dict[str, str] = {}
    for name, answer in zip(names, answers, strict=True):
        if answer.code in _BROKEN:
            raise Failed(f"the name {name!r} breaks the driver: it answers {answer.described()}", answer)
        if answer.ok:
            volume_id = answer.response(m.CreateVolumeResponse).volume.volume_id
            other = volumes.setdefault(volume_id, name)
            expect(other == name, f"names {other!r} and {name!r} gave one volume, {volume_id!r}", answer)
    for volume_id in volumes:
        await lab.delete(volume_id)


def _ids(precious: Path, mark: Path) -> list[str]:
    return [
        str(precious),
        f"{_CLIMB}{str(precious).lstrip('/')}",
        "..",
        f"$(touch {mark})",
        f"'; touch {mark}; '",
        "-rf",
        "%s%n{0}",
        "' OR '1'='1",
        "two\nlines",
        "ŕùḿ 名前 🙂",
        "i" * 2000,
    ]


async def _ask_hostile(lab: Lab) -> list[Exchange]:
    """Every RPC that takes an id, asked about ids that are none. Raises Failed when that does harm."""
    precious = await _precious(lab)
    mark = lab.directory / "mark"
    asked: list[Exchange] = []
    for hostile in _ids(precious, mark):
        requests = [
            sample(lab, rpc, any_id=hostile) for rpc in open_rpcs(lab) if rpc.id_fields and rpc.name not in CREATING
        ]
        answers = await together(lab.call(request) for request in requests)
        asked += answers
        await _expect_untouched(lab, precious, answers[0] if answers else None)
        expect(not await lab.io(mark.exists), f"the id {hostile!r} was run as a command, which made {mark}")
    return asked


@rule(
    "robustness.hostile-ids",
    section="Error Scheme",
    title="an id that is a path or a command does no harm",
    sends="every RPC that takes an id, with ids like paths of other people's files, '..', shell commands, options",
    demands="an answer each time, nothing deleted, no program run, and a driver that lives on",
    needs=(Facility.LOCAL,),
    danger=(Danger.CREATES,),
)
async def hostile_ids(lab: Lab) -> None:
    for exchange in await _ask_hostile(lab):
        expect(exchange.answer.answered, f"{exchange.rpc.name} did not answer: {exchange.message}", exchange)
    expect(await lab.peer.is_alive(), "the driver does not answer Probe any more after requests with strange ids")


@rule(
    "robustness.hostile-ids-codes",
    section="Error Scheme",
    title="an id of any form is just an id that nobody has",
    sends="the calls of robustness.hostile-ids",
    demands="neither INTERNAL nor UNKNOWN nor DATA_LOSS: they tell an operator that the storage is broken",
    severity=Severity.SHOULD,
    needs=(Facility.LOCAL,),
    danger=(Danger.CREATES,),
)
async def hostile_ids_codes(lab: Lab) -> None:
    for exchange in await _ask_hostile(lab):
        expect(exchange.code not in _BROKEN, f"{exchange.rpc.name} answers {exchange.described()}", exchange)


@rule(
    "robustness.hostile-paths",
    section="NodeUnpublishVolume",
    title="taking a volume from a path where it is not touches nothing there",
    sends="for a volume in use: NodeUnpublishVolume, NodeUnstageVolume and NodeGetVolumeStats with the paths of a "
    "directory with files, of a link to it, and of a way to it with '..'",
    demands="an answer; the directory, the link's aim and the volume's own mount and data as they were",
    needs=(CREATE, "Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def hostile_paths(lab: Lab) -> None:
    precious = await _precious(lab)
    link = lab.directory / "link"
    await lab.io(link.symlink_to, precious)
    use = await lab.use(await lab.create())
    pattern = Pattern(seed=lab.random.getrandbits(32))
    await use.write(pattern)
    volume_id = use.volume.volume_id
    for path in (str(precious), str(link), f"{lab.directory}/x/../{_PRECIOUS}"):
        requests: list[Struct] = [m.NodeUnpublishVolumeRequest(volume_id, path)]
        if lab.has(NodeCapability.STAGE_UNSTAGE_VOLUME):
            requests.append(m.NodeUnstageVolumeRequest(volume_id, path))
        if lab.has(NodeCapability.GET_VOLUME_STATS):
            requests.append(m.NodeGetVolumeStatsRequest(volume_id, path))
        for request in requests:
            exchange = await lab.call(request)
            expect(exchange.answer.answered, f"{exchange.rpc.name} did not answer: {exchange.message}", exchange)
            await _expect_untouched(lab, precious, exchange)
    await use.expect_pattern(pattern, "after the volume was to be taken from other paths")
    await use.end()
